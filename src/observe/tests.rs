use std::io;
use std::sync::Arc;

use super::capture::events;
use super::*;

/// The event of a failed fetch.
fn failed(issuer: IssuerLabel<'_>, cause: io::Error) -> serde_json::Value {
    let cause = Arc::new(cause);
    let failure = FetchFailure {
        kind: "connection",
        step: "fetch",
        status: None,
        url: Some("https://acme.id/keys"),
        cause: Some(&*cause),
        is_absence: false,
    };
    let mut events = events(|| jwks_failed(issuer, failure, None));
    assert_eq!(events[0]["event"], "jwks.failed");
    assert_eq!(events[0]["step"], "fetch");
    events.remove(0)
}

#[test]
fn lost_connection_names_its_cause_but_no_tenant() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "port 443 is closed");
    let own = IssuerLabel::Issuer("https://id/");
    let event = failed(own, io::Error::other(refused()));
    let cause = event["cause"].as_str().unwrap();
    assert!(cause.ends_with("port 443 is closed"), "{cause}");
    assert_eq!(event["url"], "https://acme.id/keys");
    let pattern = "https://{tenant}.id/";
    let event = failed(IssuerLabel::Tenant { pattern }, refused());
    assert!(
        event["cause"].is_null() && event["url"].is_null(),
        "{event}"
    );
    let long = failed(own, io::Error::other("é".repeat(9_999)));
    assert_eq!(long["cause"].as_str().unwrap().chars().count(), 500);
}
