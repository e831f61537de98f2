use std::sync::Arc;

use super::*;
use crate::identity::Verified;
use crate::peer::PeerAddr;
use crate::rejection::Reason;

fn verified(issuer: &str, subject: &str, client: Option<&str>, payload: &str) -> Caller {
    Caller::Verified(Identity::new(Verified {
        issuer: Arc::from(issuer),
        subject: subject.into(),
        client: client.map(Into::into),
        payload: payload.as_bytes().to_vec(),
        ..crate::identity::tests::verified()
    }))
}

pub(in crate::rate_limit) fn user(issuer: &str, subject: &str) -> Caller {
    verified(issuer, subject, None, "{}")
}

fn key(by: By, caller: Option<Caller>, address: Option<&str>) -> Result<Key, Rejection> {
    let mut extensions = Extensions::new();
    if let Some(caller) = caller {
        extensions.insert(caller);
    }
    if let Some(address) = address {
        extensions.insert(PeerAddr((address.parse::<IpAddr>().unwrap(), 1).into()));
    }
    let peer = Peer::default();
    Counted { by, peer }.key(KeyHasher::after(&7), &HeaderMap::new(), &extensions)
}

#[track_caller]
fn check_addresses(one: &str, other: &str, same: bool) {
    let of = |address| key(By::Address, None, Some(address)).unwrap();
    assert_eq!(of(one) == of(other), same, "{one} and {other}");
}

#[track_caller]
fn check_callers(by: By, one: Caller, other: Caller, same: bool) {
    let of = |caller| key(by.clone(), Some(caller), Some("192.0.2.1")).unwrap();
    assert_eq!(of(one) == of(other), same, "{by:?}");
}

#[test]
fn an_ipv4_address_counts_whole_and_an_ipv6_address_by_its_64_prefix() {
    check_addresses("192.0.2.1", "192.0.2.1", true);
    check_addresses("192.0.2.1", "192.0.2.2", false);
    check_addresses("192.0.2.1", "::ffff:192.0.2.1", true);
    check_addresses("2001:db8::1", "2001:db8::ffff:1:2:3", true);
    check_addresses("2001:db8::1", "2001:db8:0:1::1", false);
    check_addresses("2001:db8::1", "2001:db9::1", false);
}

#[test]
fn a_subject_is_one_only_within_its_issuer() {
    check_callers(By::Subject, user("a", "joe"), user("a", "joe"), true);
    check_callers(By::Subject, user("a", "joe"), user("a", "jim"), false);
    check_callers(By::Subject, user("a", "joe"), user("b", "joe"), false);
    check_callers(By::Subject, user("a", "bc"), user("ab", "c"), false);
}

#[test]
fn users_of_one_client_share_its_count_and_a_caller_without_client_has_its_own() {
    let through = |subject, client| verified("a", subject, Some(client), "{}");
    check_callers(
        By::Client,
        through("joe", "app"),
        through("jim", "app"),
        true,
    );
    check_callers(
        By::Client,
        through("joe", "app"),
        through("joe", "web"),
        false,
    );
    check_callers(By::Client, user("a", "joe"), user("a", "jim"), false);
    check_callers(By::Client, user("a", "app"), through("joe", "app"), false);
}

#[test]
fn a_claim_counts_by_its_value_and_its_absence_by_subject() {
    let by = || By::Claim(ClaimPath::from("tenant"));
    let of = |subject, payload| verified("a", subject, None, payload);
    let acme = r#"{"tenant":"acme"}"#;
    check_callers(by(), of("joe", acme), of("jim", acme), true);
    check_callers(
        by(),
        of("joe", acme),
        of("joe", r#"{"tenant":["acme"]}"#),
        false,
    );
    check_callers(by(), of("joe", "{}"), of("jim", "{}"), false);
    check_callers(by(), of("joe", r#"{"tenant":null}"#), of("joe", "{}"), true);
    check_callers(by(), of("acme", "{}"), of("joe", acme), false);
}

#[test]
fn an_anonymous_caller_is_counted_by_address() {
    let address = key(By::Address, None, Some("192.0.2.1")).unwrap();
    for by in [By::Subject, By::Client, By::Claim("tenant".into())] {
        let anonymous = key(by, Some(Caller::Anonymous), Some("192.0.2.1"));
        assert_eq!(anonymous.unwrap(), address);
    }
}

#[test]
fn what_cannot_be_counted_is_a_misconfiguration_that_names_the_fix() {
    for (by, caller, fix) in [
        (By::Address, None, "PeerAddr"),
        (By::Subject, None, "JwtAuthLayer"),
        (By::Subject, Some(Caller::Anonymous), "PeerAddr"),
    ] {
        let rejection = key(by, caller, None).unwrap_err();
        assert_eq!(rejection.reason(), Reason::NotConfigured);
        assert!(rejection.details().unwrap().fix.unwrap().contains(fix));
    }
}

#[test]
fn two_policies_never_share_a_key() {
    let mut extensions = Extensions::new();
    extensions.insert(user("a", "joe"));
    let (by, peer) = (By::Subject, Peer::default());
    let counted = Counted { by, peer };
    let of = |policy: u8| {
        let hasher = KeyHasher::after(&policy);
        counted.key(hasher, &HeaderMap::new(), &extensions).unwrap()
    };
    assert_ne!(of(1), of(2));
}
