use std::sync::Arc;

use super::*;
use crate::client_address::PeerAddr;
use crate::identity::Verified;
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

fn key(by: LimitKey, caller: Option<Caller>, address: Option<&str>) -> Result<Key, Rejection> {
    let mut extensions = Extensions::new();
    if let Some(caller) = caller {
        extensions.insert(caller);
    }
    if let Some(address) = address {
        extensions.insert(PeerAddr((address.parse::<IpAddr>().unwrap(), 1).into()));
    }
    let config = KeyConfig {
        kind: KeyKind::Known(by),
        per_route: false,
        peer: AddressReader::default(),
    };
    config.key(&KeyHasher::local(), &HeaderMap::new(), &extensions)
}

#[track_caller]
fn check_addresses(one: &str, other: &str, same: bool) {
    let of = |address| key(LimitKey::Address, None, Some(address)).unwrap();
    assert_eq!(of(one) == of(other), same, "{one} and {other}");
}

#[track_caller]
fn check_callers(by: LimitKey, one: Caller, other: Caller, same: bool) {
    let of = |caller| key(by.clone(), Some(caller), Some("192.0.2.1")).unwrap();
    assert_eq!(of(one) == of(other), same, "{by:?}");
}

#[test]
fn ipv6_addresses_count_by_prefix() {
    check_addresses("192.0.2.1", "192.0.2.1", true);
    check_addresses("192.0.2.1", "192.0.2.2", false);
    check_addresses("192.0.2.1", "::ffff:192.0.2.1", true);
    check_addresses("2001:db8::1", "2001:db8::ffff:1:2:3", true);
    check_addresses("2001:db8::1", "2001:db8:0:1::1", false);
    check_addresses("2001:db8::1", "2001:db9::1", false);
}

#[test]
fn a_subject_belongs_to_its_issuer() {
    check_callers(LimitKey::Subject, user("a", "joe"), user("a", "joe"), true);
    check_callers(LimitKey::Subject, user("a", "joe"), user("a", "jim"), false);
    check_callers(LimitKey::Subject, user("a", "joe"), user("b", "joe"), false);
    check_callers(LimitKey::Subject, user("a", "bc"), user("ab", "c"), false);
}

#[test]
fn users_of_one_client_share_its_count() {
    let through = |subject, client| verified("a", subject, Some(client), "{}");
    check_callers(
        LimitKey::Client,
        through("joe", "app"),
        through("jim", "app"),
        true,
    );
    check_callers(
        LimitKey::Client,
        through("joe", "app"),
        through("joe", "web"),
        false,
    );
    check_callers(LimitKey::Client, user("a", "joe"), user("a", "jim"), false);
    check_callers(
        LimitKey::Client,
        user("a", "app"),
        through("joe", "app"),
        false,
    );
}

#[test]
fn a_missing_claim_counts_by_subject() {
    let by = || LimitKey::Claim(ClaimPath::from("tenant"));
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
    let address = key(LimitKey::Address, None, Some("192.0.2.1")).unwrap();
    for by in [
        LimitKey::Subject,
        LimitKey::Client,
        LimitKey::Claim("tenant".into()),
    ] {
        let anonymous = key(by, Some(Caller::Anonymous), Some("192.0.2.1"));
        assert_eq!(anonymous.unwrap(), address);
    }
}

#[test]
fn a_missing_key_names_the_fix() {
    for (by, caller, fix) in [
        (LimitKey::Address, None, "PeerAddr"),
        (LimitKey::Subject, None, "JwtAuthLayer"),
        (LimitKey::Subject, Some(Caller::Anonymous), "PeerAddr"),
    ] {
        let rejection = key(by, caller, None).unwrap_err();
        assert_eq!(rejection.reason(), Reason::NotConfigured);
        assert!(rejection.details().unwrap().fix.unwrap().contains(fix));
    }
}

#[test]
fn routes_count_separately_paths_do_not() {
    let key = |by: LimitKey, path: &str, route: Option<&str>| {
        let mut request = http::Request::builder().uri(path).body(()).unwrap();
        request.extensions_mut().insert(user("a", "joe"));
        if let Some(route) = route {
            let template = crate::route::RouteTemplate(route.into());
            request.extensions_mut().insert(template);
        }
        let config = KeyConfig {
            kind: KeyKind::Known(by),
            per_route: true,
            peer: AddressReader::default(),
        };
        let key = config.key(&KeyHasher::local(), request.headers(), request.extensions());
        key.unwrap()
    };
    for by in [LimitKey::Subject, LimitKey::Route] {
        let orders = key(by.clone(), "/orders/1", Some("/orders/{id}"));
        assert_eq!(orders, key(by.clone(), "/orders/2", Some("/orders/{id}")));
        assert_ne!(orders, key(by.clone(), "/orders/1", Some("/users/{id}")));
        let nowhere = key(by.clone(), "/made/up", None);
        assert_ne!(orders, nowhere);
        assert_eq!(nowhere, key(by, "/otherwise", None));
    }
    let orders = |by| key(by, "/orders/1", Some("/orders/{id}"));
    assert_ne!(orders(LimitKey::Subject), orders(LimitKey::Route));
}

#[test]
fn a_missing_header_counts_by_address() {
    let by = || LimitKey::Header(http::HeaderName::from_static("x-tenant"));
    let of = |tenant: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        if let Some(tenant) = tenant {
            headers.insert("x-tenant", tenant.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddr("192.0.2.1:1".parse().unwrap()));
        let config = KeyConfig {
            kind: KeyKind::Known(by()),
            per_route: false,
            peer: AddressReader::default(),
        };
        config
            .key(&KeyHasher::local(), &headers, &extensions)
            .unwrap()
    };
    assert_eq!(of(Some("acme")), of(Some("acme")));
    assert_ne!(of(Some("acme")), of(Some("other")));
    assert_eq!(
        of(None),
        key(LimitKey::Address, None, Some("192.0.2.1")).unwrap()
    );
}

#[test]
fn keys_depend_on_the_secret() {
    let key = |secret: &[u8; 16]| {
        let mut hasher = KeyHasher::shared(secret);
        hasher.field(Tag::Subject, b"joe");
        hasher.key().bytes()
    };
    assert_eq!(key(b"0123456789abcdef"), key(b"0123456789abcdef"));
    assert_ne!(key(b"0123456789abcdef"), key(b"0123456789abcdeg"));
    // Nodes of two versions must agree, so this value never changes.
    let expected = 0xe4e0_014b_7f82_189a_52b5_7263_013f_cf38_u128;
    assert_eq!(key(b"0123456789abcdef"), expected.to_be_bytes());
}
