//! What the client is told of its quota (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! Both fields are lists, and every limit adds its own members: one further in never overwrites one further out.

use http::{HeaderName, HeaderValue};

use super::gcra::Left;
use super::policy::Policies;
use crate::duration::seconds_rounded_up;

pub(crate) static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The name of the limit of requests in flight.
pub(crate) const IN_FLIGHT: &str = "in-flight";

/// The longest name that a policy may have.
pub(crate) const NAME_LIMIT: usize = 64;

/// Quotes, `;r=`, `;t=` and two numbers of at most 10 and 20 digits.
const VALUE_LIMIT: usize = NAME_LIMIT + 2 + 3 + 10 + 3 + 20;

/// The fields of one or several policies.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    /// How the state of each begins: `"burst";r=`.
    states: Box<[Box<[u8]>]>,
    policy: HeaderValue,
}

/// The fields of earlier drafts, which many clients know: one quota, in three lines.
pub(crate) static LEGACY: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// A value in the making, on the stack. It is written from its end, as the digits of a number come.
struct Text {
    bytes: [u8; VALUE_LIMIT],
    start: usize,
}

/// Whether `name` can stand in the fields, in metrics and in events as it is.
pub(crate) fn is_name(name: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(is_safe)
}

// === impl Fields ===

impl Fields {
    pub(crate) fn new(policies: &Policies) -> Self {
        let members = policies.iter().map(|policy| {
            let mut member = Text::new();
            member.parameter(b";w=", policy.quota.window_seconds());
            member.parameter(b";q=", policy.quota.size().into());
            member.name(&policy.name);
            member
        });
        let states = policies.iter().map(|policy| {
            let mut state = Text::new();
            state.push(b";r=");
            state.name(&policy.name);
            state.bytes().into()
        });
        Self {
            policy: list(members),
            states: states.collect(),
        }
    }

    /// `"burst";q=100;w=60,"daily";q=1000;w=86400`
    pub(crate) fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// `"burst";r=50;t=30,"daily";r=900;t=87`
    pub(crate) fn state(&self, left: impl IntoIterator<Item = Left>) -> HeaderValue {
        let members = self.states.iter().zip(left);
        list(members.map(|(begin, left)| {
            let mut state = Text::new();
            state.parameter(b";t=", seconds_rounded_up(left.more_in));
            state.number(left.permits.into());
            state.push(begin);
            state
        }))
    }
}

/// The values of [`LEGACY`].
pub(crate) fn legacy(size: u32, left: Left) -> [HeaderValue; 3] {
    let reset = seconds_rounded_up(left.more_in);
    [size.into(), left.permits.into(), reset.into()]
}

/// `"in-flight";q=8;qu="concurrent-requests"`
pub(crate) fn in_flight_policy(most: u32) -> HeaderValue {
    let mut policy = Text::new();
    policy.push(b";qu=\"concurrent-requests\"");
    policy.parameter(b";q=", most.into());
    policy.name(IN_FLIGHT);
    policy.value()
}

/// `"in-flight";r=3`
pub(crate) fn in_flight_state(left: u32) -> HeaderValue {
    let mut state = Text::new();
    state.parameter(b";r=", left.into());
    state.name(IN_FLIGHT);
    state.value()
}

fn list(members: impl IntoIterator<Item = Text>) -> HeaderValue {
    let mut members = members.into_iter();
    let (first, second) = (members.next(), members.next());
    match (first, second) {
        (Some(only), None) => only.value(),
        (first, second) => {
            let mut list = Vec::new();
            for member in first.into_iter().chain(second).chain(members) {
                if !list.is_empty() {
                    list.push(b',');
                }
                list.extend_from_slice(member.bytes());
            }
            value(&list)
        }
    }
}

/// A value made of names that were checked, digits and punctuation is always one.
fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}

// === impl Text ===

impl Text {
    const fn new() -> Self {
        Self {
            bytes: [0; VALUE_LIMIT],
            start: VALUE_LIMIT,
        }
    }

    fn name(&mut self, name: &str) {
        self.push(b"\"");
        self.push(name.as_bytes());
        self.push(b"\"");
    }

    fn parameter(&mut self, name: &[u8; 3], number: u64) {
        self.number(number);
        self.push(name);
    }

    fn number(&mut self, mut number: u64) {
        let room = self.bytes.get_mut(..self.start).unwrap_or_default();
        let mut digits = 0;
        for digit in room.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            digits += 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.start -= digits;
    }

    /// Puts `part` before what is there. What does not fit is left out; a policy's name is checked so that everything fits.
    fn push(&mut self, part: &[u8]) {
        let room = self.bytes.get_mut(..self.start).unwrap_or_default();
        if let Some((rest, room)) = room.split_at_mut_checked(room.len().wrapping_sub(part.len())) {
            room.copy_from_slice(part);
            self.start = rest.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn value(&self) -> HeaderValue {
        value(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
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
        assert_eq!(fields.state([left]), state);
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
        assert_eq!(fields.state([left(50, 30), left(900, 87)]), state);
    }

    #[test]
    fn the_fields_are_those_of_the_draft() {
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
    fn what_is_in_flight_is_told_by_its_unit() {
        let policy = r#""in-flight";q=4294967295;qu="concurrent-requests""#;
        assert_eq!(in_flight_policy(u32::MAX), policy);
        assert_eq!(in_flight_state(3), r#""in-flight";r=3"#);
    }

    #[test]
    fn the_longest_name_and_the_largest_numbers_fit() {
        let name = "n".repeat(NAME_LIMIT);
        let quota = Quota::per(1, Duration::MAX).burst(u32::MAX);
        let fields = fields(&[(&name, quota)]);
        let left = Left {
            permits: u32::MAX,
            more_in: Duration::from_secs(u64::MAX),
        };
        let state = format!("\"{name}\";r={};t={}", u32::MAX, u64::MAX);
        assert_eq!(fields.state([left]), state);
        let window = quota.window_seconds();
        let policy = format!("\"{name}\";q={};w={window}", u32::MAX);
        assert_eq!(fields.policy(), policy);
    }

    #[test]
    fn a_name_is_plain() {
        assert!(is_name("per-user_1.a:b/c"));
        for name in ["", "a b", "a\"", "a\\", "a;b", "ä", "a,b", "\n"] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(!is_name(&"n".repeat(NAME_LIMIT + 1)));
    }
}
