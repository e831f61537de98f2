use std::io;
use std::sync::Arc;

use super::capture::events;
use super::*;

/// The `cause` of the event of a failed fetch.
fn cause_of(issuer: IssuerLabel<'_>, cause: io::Error) -> Option<String> {
    let cause = Arc::new(cause);
    let failure = FetchFailure {
        kind: "connection",
        cause: Some(&*cause),
        is_absence: false,
    };
    let events = events(|| jwks_failed(issuer, failure, None));
    assert_eq!(events[0]["event"], "jwks.failed");
    events[0]["cause"].as_str().map(str::to_owned)
}

#[test]
fn lost_connection_names_its_cause_but_no_tenant() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "port 443 is closed");
    let own = IssuerLabel::Issuer("https://id/");
    let cause = cause_of(own, io::Error::other(refused())).unwrap();
    assert!(cause.ends_with("port 443 is closed"), "{cause}");
    let pattern = "https://{tenant}.id/";
    assert_eq!(cause_of(IssuerLabel::Tenant { pattern }, refused()), None);
    let long = cause_of(own, io::Error::other("é".repeat(9_999))).unwrap();
    assert_eq!(long.chars().count(), 500);
}
