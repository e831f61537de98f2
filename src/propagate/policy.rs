//! Decides whether a request carries the caller's token.

use std::fmt::Display;

use http::{HeaderValue, Uri};

use crate::identity::Caller;
use crate::origin::Origin;

/// The origins that tokens may be sent to.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) allowed: Vec<Origin>,
    /// The origin of requests whose URI is only a path.
    pub(crate) implied: Option<Origin>,
}

/// Where a request goes.
pub(crate) enum Destination<'u> {
    To(Origin<&'u str>),
    /// The URI is only a path; the client inside adds the origin.
    Implied,
    /// The URI has no origin, or is ambiguous.
    Unclear,
}

/// Whether a request carries a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Forward(HeaderValue),
    Nothing(Withheld),
}

/// Why a request carries no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    NoOrigin,
    NotAllowed,
    Anonymous,
    NoCaller,
}

// === impl Policy ===

impl Policy {
    /// `explicit` is the caller in the extensions of the request. It takes precedence over the
    /// caller of the task, so that a task can make an anonymous request.
    pub(crate) fn decide(
        &self,
        destination: &Destination<'_>,
        explicit: Option<&Caller>,
        scoped: Option<&Caller>,
    ) -> Verdict {
        let is_allowed = match (destination, &self.implied) {
            (Destination::To(called), None) => self.allows(called),
            // A client that adds its own origin may ignore the origin of the URI.
            (Destination::To(called), Some(implied)) => implied.is(called),
            (Destination::Implied, Some(_)) => true,
            (Destination::Implied, None) | (Destination::Unclear, _) => {
                return Verdict::Nothing(Withheld::NoOrigin);
            }
        };
        if !is_allowed {
            return Verdict::Nothing(Withheld::NotAllowed);
        }
        match explicit.or(scoped) {
            Some(Caller::Verified(identity)) => Verdict::Forward(identity.bearer().authorization()),
            Some(Caller::Anonymous) => Verdict::Nothing(Withheld::Anonymous),
            None => Verdict::Nothing(Withheld::NoCaller),
        }
    }

    fn allows(&self, called: &Origin<&str>) -> bool {
        self.allowed.iter().any(|origin| origin.is(called))
    }
}

// === impl Destination ===

impl<'u> Destination<'u> {
    pub(crate) fn of(uri: &'u Uri) -> Self {
        if uri.scheme().is_none() && uri.authority().is_none() {
            return Self::Implied;
        }
        Origin::of(uri).map_or(Self::Unclear, Self::To)
    }

    #[cfg(feature = "reqwest-client")]
    pub(crate) fn of_url(url: &'u reqwest::Url) -> Self {
        Origin::parse(url.scheme(), url.authority()).map_or(Self::Unclear, Self::To)
    }

    /// The origin, for events.
    pub(crate) fn origin(&self) -> Option<&dyn Display> {
        match self {
            Self::To(origin) => Some(origin),
            Self::Implied | Self::Unclear => None,
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// The word for the reason why no token is sent, for metrics and events.
    pub(crate) const fn withheld(&self) -> Option<&'static str> {
        match self {
            Self::Forward(_) => None,
            Self::Nothing(Withheld::NoOrigin) => Some("no_origin"),
            Self::Nothing(Withheld::NotAllowed) => Some("not_allowed"),
            Self::Nothing(Withheld::Anonymous) => Some("anonymous"),
            Self::Nothing(Withheld::NoCaller) => Some("no_caller"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{AUTHORIZATION, verified};
    use super::*;
    use crate::origin::Transport;

    fn policy(allowed: &[&str], implied: Option<&str>) -> Policy {
        let origin = |url: &str| Origin::configured(url, Transport::Encrypted).unwrap();
        Policy {
            allowed: allowed.iter().map(|url| origin(url)).collect(),
            implied: implied.map(origin),
        }
    }

    #[track_caller]
    fn check_origin(implied: Option<&str>, uri: &str, expected: Option<Withheld>) {
        let policy = policy(
            &["https://orders.internal", "https://stock.internal"],
            implied,
        );
        let uri = uri.parse().unwrap();
        let verdict = policy.decide(&Destination::of(&uri), Some(&verified()), None);
        match (verdict, expected) {
            (Verdict::Forward(value), None) => assert_eq!(value, AUTHORIZATION),
            (Verdict::Nothing(reason), Some(expected)) => assert_eq!(reason, expected),
            (verdict, expected) => panic!("{verdict:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn only_listed_origins_get_the_token() {
        check_origin(None, "https://orders.internal/v1", None);
        check_origin(None, "https://stock.internal/v1", None);
        check_origin(None, "https://evil", Some(Withheld::NotAllowed));
        check_origin(None, "/v1", Some(Withheld::NoOrigin));
        check_origin(None, "orders.internal:443", Some(Withheld::NoOrigin));
        check_origin(None, "https://x@orders.internal/", Some(Withheld::NoOrigin));
    }

    #[test]
    fn an_implied_origin_is_the_only_one() {
        let implied = Some("https://orders.internal");
        check_origin(implied, "/v1", None);
        check_origin(implied, "https://orders.internal/v1", None);
        check_origin(
            implied,
            "https://stock.internal/",
            Some(Withheld::NotAllowed),
        );
        check_origin(implied, "orders.internal:443", Some(Withheld::NoOrigin));
    }

    #[track_caller]
    fn check_caller(explicit: Option<&Caller>, scoped: Option<&Caller>, expected: &Verdict) {
        let policy = policy(&["https://orders.internal"], None);
        let uri = "https://orders.internal".parse().unwrap();
        let verdict = policy.decide(&Destination::of(&uri), explicit, scoped);
        assert_eq!(verdict, *expected);
    }

    #[test]
    fn an_explicit_caller_takes_precedence() {
        let (me, anonymous) = (verified(), Caller::Anonymous);
        let sent = Verdict::Forward(HeaderValue::from_static(AUTHORIZATION));
        check_caller(Some(&me), None, &sent);
        check_caller(None, Some(&me), &sent);
        check_caller(Some(&me), Some(&anonymous), &sent);
        let withheld = Verdict::Nothing(Withheld::Anonymous);
        check_caller(Some(&anonymous), Some(&me), &withheld);
        check_caller(None, Some(&anonymous), &withheld);
        check_caller(None, None, &Verdict::Nothing(Withheld::NoCaller));
    }

    #[test]
    fn a_verdict_does_not_print_the_token() {
        let policy = policy(&["https://orders.internal"], None);
        let uri = "https://orders.internal".parse().unwrap();
        let verdict = policy.decide(&Destination::of(&uri), Some(&verified()), None);
        assert!(matches!(&verdict, Verdict::Forward(value) if value.is_sensitive()));
        assert!(!format!("{verdict:?}").contains("a.b.c"));
    }

    #[cfg(feature = "reqwest-client")]
    #[test]
    fn a_url_is_read_like_a_uri() {
        let policy = policy(&["https://orders.internal"], None);
        for (url, sent) in [
            ("https://ORDERS.internal:443/v1", true),
            ("https://orders.internal:8443", false),
            ("https://orders.internal@evil", false),
            ("https://me@orders.internal", false),
            ("https://orders.internal.", false),
            ("file:///etc/passwd", false),
            ("data:text/plain,x", false),
        ] {
            let url = url.parse().unwrap();
            let verdict = policy.decide(&Destination::of_url(&url), Some(&verified()), None);
            assert_eq!(matches!(verdict, Verdict::Forward(_)), sent, "{url}");
        }
    }
}
