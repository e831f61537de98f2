//! The fields of responses (draft-ietf-httpapi-ratelimit-headers-11), and the rejection.
//!
//! Both fields are lists. Every limit adds its own members, so an inner limit never overwrites an
//! outer one.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::gcra::Left;
use super::in_flight::InFlight;
use super::policy::Policies;
use super::store::{Source, Verdicts};
use crate::duration::{nanos, seconds_rounded_up};
use crate::rejection::{Reason, Rejection};

/// The rate limit fields of responses. Every rejection also has `Retry-After`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderStyle {
    /// None.
    None,
    /// `RateLimit` and `RateLimit-Policy`. The default.
    #[default]
    Draft,
    /// Also `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (seconds until
    /// there is one more permit), for clients that support only these. They describe the quota with
    /// the fewest permits left. If an inner limit has set them, they are kept.
    Legacy,
}

crate::words::words! {
    HeaderStyle: "header style" { None => "none", Draft => "draft", Legacy => "legacy" }
}

/// The parts of the fields that do not change between responses under the same policies.
#[derive(Debug)]
pub(super) struct Fields {
    policy: HeaderValue,
    members: Box<[Member]>,
}

#[derive(Debug)]
struct Member {
    /// The start of the state: `"burst";r=`.
    begin: Box<[u8]>,
    size: u32,
}

/// Why a request is rejected.
pub(super) struct Refusal {
    pub(super) violated: Vec<Arc<str>>,
    pub(super) retry_after: Duration,
    pub(super) source: Source,
    pub(super) fields: Vec<(HeaderName, HeaderValue)>,
}

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// The name of the limit of requests in flight.
const IN_FLIGHT: &str = "in-flight";

/// `Retry-After` of a request over the limit of requests in flight, whose ends cannot be predicted.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

// === impl HeaderStyle ===

impl HeaderStyle {
    /// Adds what is left of each policy.
    pub(super) fn add<L>(self, fields: &Fields, left: L, headers: &mut HeaderMap)
    where
        L: IntoIterator<Item = Left, IntoIter: Clone>,
    {
        if self == Self::None {
            return;
        }
        let left = left.into_iter();
        headers.append(&RATE_LIMIT_POLICY, fields.policy());
        headers.append(&RATE_LIMIT, fields.state(left.clone()));
        let [limit, ..] = &LEGACY;
        if self == Self::Legacy && !headers.contains_key(limit) {
            headers.extend(fields.legacy(left).into_iter().flatten());
        }
    }

    /// Adds how many more requests may be in flight.
    pub(super) fn add_in_flight(self, in_flight: &InFlight, left: u32, headers: &mut HeaderMap) {
        if self != Self::None {
            headers.append(&RATE_LIMIT_POLICY, in_flight_policy(in_flight.max()));
            headers.append(&RATE_LIMIT, in_flight_state(left));
        }
    }

    /// Rejects a request over a quota.
    #[cold]
    pub(super) fn refusal(
        self,
        policies: &Policies,
        fields: &Fields,
        verdicts: &Verdicts,
        source: Source,
    ) -> Refusal {
        let refusing = policies.iter().zip(verdicts.as_slice());
        let refusing = refusing.filter(|(_, verdict)| verdict.retry_after.is_some());
        let mut headers = HeaderMap::new();
        self.add(fields, verdicts.left(), &mut headers);
        Refusal {
            violated: refusing.map(|(policy, _)| policy.name.clone()).collect(),
            retry_after: verdicts.retry_after().unwrap_or(IN_FLIGHT_RETRY),
            source,
            fields: fields_of(headers),
        }
    }

    /// Rejects a request over the limit of requests in flight.
    #[cold]
    pub(super) fn refusal_in_flight(self, in_flight: &InFlight) -> Refusal {
        let mut headers = HeaderMap::new();
        self.add_in_flight(in_flight, 0, &mut headers);
        Refusal {
            violated: vec![Arc::from(IN_FLIGHT)],
            retry_after: IN_FLIGHT_RETRY,
            source: Source::Local,
            fields: fields_of(headers),
        }
    }
}

fn fields_of(headers: HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let fields = headers.into_iter();
    fields
        .filter_map(|(name, value)| Some((name?, value)))
        .collect()
}

// === impl Refusal ===

impl Refusal {
    /// `random` spreads clients over the jitter; clients must not be able to predict it.
    pub(super) fn rejection(self, jitter: Duration, random: u64) -> Rejection {
        // Multiplied by the golden ratio, so that the low bits, which differ most, affect the high
        // bits.
        let random = u128::from(random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let extra = Duration::from_nanos(((random * u128::from(nanos(jitter))) >> 64) as u64);
        let after = self.retry_after.saturating_add(extra);
        let mut rejection = Rejection::new(Reason::RateLimited).with_retry_after(after);
        let details = rejection.details_mut();
        details.violated = self.violated;
        details.source = Some(self.source.as_str());
        details.fields.extend(self.fields);
        rejection
    }
}

// === impl Fields ===

impl Fields {
    pub(super) fn new(policies: &Policies) -> Self {
        let mut list = String::new();
        for policy in policies.iter() {
            let comma = if list.is_empty() { "" } else { "," };
            let (size, window) = (policy.quota.size(), policy.quota.window_seconds());
            list += &format!("{comma}\"{}\";q={size};w={window}", policy.name);
        }
        let members = policies.iter().map(|policy| Member {
            begin: format!("\"{}\";r=", policy.name).into_bytes().into(),
            size: policy.quota.size(),
        });
        Self {
            policy: value(list.into_bytes()),
            members: members.collect(),
        }
    }

    /// `"burst";q=100;w=60,"daily";q=1000;w=86400`
    fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// `"burst";r=50;t=30,"daily";r=900;t=87`
    fn state(&self, left: impl Iterator<Item = Left> + Clone) -> HeaderValue {
        let members = self.members.iter().zip(left);
        let members = members.map(|(member, left)| {
            let seconds = seconds_rounded_up(left.more_in);
            (&*member.begin, left.permits.into(), seconds)
        });
        let lengths = members
            .clone()
            .map(|(begin, permits, seconds)| begin.len() + digits(permits) + 4 + digits(seconds));
        // The exact length, so that the header value takes the buffer without a copy.
        let length = lengths.sum::<usize>().saturating_sub(1);
        let mut text = Vec::with_capacity(length);
        for (begin, permits, seconds) in members {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(begin);
            push_number(&mut text, permits);
            text.extend_from_slice(b";t=");
            push_number(&mut text, seconds);
        }
        value(text)
    }

    /// Returns the legacy fields of the policy with the fewest permits left.
    fn legacy(
        &self,
        left: impl Iterator<Item = Left>,
    ) -> Option<impl Iterator<Item = (HeaderName, HeaderValue)>> {
        let members = self.members.iter().zip(left);
        let (member, left) = members.min_by_key(|(_, left)| left.permits)?;
        let reset = seconds_rounded_up(left.more_in);
        let values = [member.size.into(), left.permits.into(), reset.into()];
        Some(LEGACY.iter().cloned().zip(values))
    }
}

/// `"in-flight";q=8;qu="concurrent-requests"`
fn in_flight_policy(max: u32) -> HeaderValue {
    value(format!("\"{IN_FLIGHT}\";q={max};qu=\"concurrent-requests\"").into_bytes())
}

/// `"in-flight";r=3`
fn in_flight_state(left: u32) -> HeaderValue {
    value(format!("\"{IN_FLIGHT}\";r={left}").into_bytes())
}

/// Checked names, digits and punctuation always make a value.
fn value(text: Vec<u8>) -> HeaderValue {
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Writes a number several times faster than the formatting machinery.
fn push_number(text: &mut Vec<u8>, mut number: u64) {
    text.resize(text.len() + digits(number), b'0');
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::policy_name::MAX_BYTES;
    use crate::rate_limit::quota::Quota;

    fn fields(quotas: &[(&str, Quota)]) -> Fields {
        let quotas: Vec<_> = quotas
            .iter()
            .map(|(name, quota)| (Arc::from(*name), *quota))
            .collect();
        Fields::new(&Policies::new(quotas.iter().map(|(name, quota)| (name, *quota))).unwrap())
    }

    #[track_caller]
    fn check(quota: Quota, remaining: u32, more_in: Duration, policy: &str, state: &str) {
        let fields = fields(&[("default", quota)]);
        let left = Left {
            permits: remaining,
            more_in,
        };
        assert_eq!(fields.policy(), policy);
        assert_eq!(fields.state([left].into_iter()), state);
    }

    #[test]
    fn several_policies_are_one_list() {
        let fields = fields(&[
            ("burst", Quota::per_minute(100)),
            ("daily", Quota::per_day(1_000)),
        ]);
        assert_eq!(
            fields.policy(),
            r#""burst";q=100;w=60,"daily";q=1000;w=86400"#
        );
        let left = |permits, seconds| Left {
            permits,
            more_in: Duration::from_secs(seconds),
        };
        let state = r#""burst";r=50;t=30,"daily";r=900;t=87"#;
        assert_eq!(
            fields.state([left(50, 30), left(900, 87)].into_iter()),
            state
        );
    }

    #[test]
    fn fields_have_the_form_of_the_draft() {
        check(
            Quota::per_second(50).burst(100),
            50,
            Duration::from_millis(20),
            r#""default";q=100;w=2"#,
            r#""default";r=50;t=1"#,
        );
        check(
            Quota::per_hour(1),
            0,
            Duration::from_millis(59_001),
            r#""default";q=1;w=3600"#,
            r#""default";r=0;t=60"#,
        );
    }

    #[test]
    fn requests_in_flight_have_a_unit() {
        let policy = r#""in-flight";q=4294967295;qu="concurrent-requests""#;
        assert_eq!(in_flight_policy(u32::MAX), policy);
        assert_eq!(in_flight_state(3), r#""in-flight";r=3"#);
    }

    #[test]
    fn the_longest_name_and_the_largest_numbers_fit() {
        let name = "n".repeat(MAX_BYTES);
        let quota = Quota::per(1, Duration::MAX).burst(u32::MAX);
        let fields = fields(&[(&name, quota)]);
        let left = Left {
            permits: u32::MAX,
            more_in: Duration::from_secs(u64::MAX),
        };
        let state = format!("\"{name}\";r={};t={}", u32::MAX, u64::MAX);
        assert_eq!(fields.state([left].into_iter()), state);
        let window = quota.window_seconds();
        let policy = format!("\"{name}\";q={};w={window}", u32::MAX);
        assert_eq!(fields.policy(), policy);
    }
}
