use serde_json::json;

use super::*;

fn mapping() -> ClaimMapping {
    ClaimMapping::default()
}

#[track_caller]
fn refused(payload: &str, expected: Reason) {
    let refusal = Claims::read(payload, &mapping())
        .err()
        .map(|error| error.reason);
    assert_eq!(refusal, Some(expected), "{payload}");
}

#[test]
fn reads_every_claim_that_is_checked() {
    let payload = r#"{"iss":"i","sub":"s","aud":["a","b"],"exp":20,"nbf":10.9,"iat":5,"jti":"j","azp":"c",
        "client_id":"d","roles":"admin","permissions":["p","q"],"scope":"x  y","scp":["z"],"other":{"iss":"no"}}"#;
    let claims = Claims::read(payload, &mapping()).unwrap();
    assert_eq!(claims.issuer.as_deref(), Some("i"));
    assert_eq!(claims.subject.as_deref(), Some("s"));
    let audiences = claims.audience.as_deref().unwrap().iter();
    assert_eq!(
        audiences.map(|name| &*name.0).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(
        (claims.expires_at, claims.not_before, claims.issued_at),
        (Some(20), Some(10), Some(5))
    );
    assert_eq!(
        (claims.token_id.as_deref(), claims.client()),
        (Some("j"), Some("c"))
    );
    assert_eq!(claims.roles.iter().collect::<Vec<_>>(), ["admin"]);
    assert_eq!(claims.permissions.iter().collect::<Vec<_>>(), ["p", "q"]);
    assert_eq!(claims.scopes.iter().collect::<Vec<_>>(), ["x", "y", "z"]);
}

#[test]
fn registered_claims_are_exactly_typed() {
    for name in ["iss", "sub", "jti", "sid", "azp", "client_id"] {
        for value in ["7", "null", "true", "[\"x\"]", "{}"] {
            refused(&format!(r#"{{"{name}":{value}}}"#), Reason::InvalidClaim);
        }
    }
    for name in ["exp", "nbf", "iat"] {
        for value in ["\"7\"", "null", "-1", "1e300", "[7]", "true"] {
            refused(&format!(r#"{{"{name}":{value}}}"#), Reason::InvalidClaim);
        }
    }
    for value in ["7", "null", "{\"a\":1}", "[\"a\",5]", "[[\"a\"]]"] {
        refused(&format!(r#"{{"aud":{value}}}"#), Reason::InvalidClaim);
    }
}

#[test]
fn lists_are_strings_or_arrays_of_strings() {
    for name in ["roles", "permissions", "scope", "scp"] {
        for value in ["7", "null", "{}", "[7]", "[null]"] {
            refused(&format!(r#"{{"{name}":{value}}}"#), Reason::InvalidClaim);
        }
    }
}

#[test]
fn members_must_not_repeat_in_any_spelling() {
    refused(r#"{"iss":"a","iss":"a"}"#, Reason::InvalidClaim);
    refused(r#"{"iss":"a","\u0069ss":"b"}"#, Reason::InvalidClaim);
    refused(r#"{"other":1,"other":2}"#, Reason::InvalidClaim);
}

#[test]
fn broken_json_is_a_malformed_token() {
    for payload in [
        "",
        "{",
        "{\"iss\":\"a\"",
        "{\"iss\":\"a\"}x",
        "{\"iss\":\"\\ud800\"}",
    ] {
        refused(payload, Reason::MalformedToken);
    }
    refused("[]", Reason::InvalidClaim);
}

#[test]
fn paths_lead_through_objects() {
    let mut mapping = mapping();
    mapping.roles = Some(["realm_access", "roles"].into());
    mapping.permissions = Some(["realm_access", "perms"].into());
    let payload =
        json!({"realm_access": {"roles": ["a"], "perms": "b"}, "roles": ["no"]}).to_string();
    let claims = Claims::read(&payload, &mapping).unwrap();
    assert_eq!(claims.roles.iter().collect::<Vec<_>>(), ["a"]);
    assert_eq!(claims.permissions.iter().collect::<Vec<_>>(), ["b"]);
    let payload = r#"{"realm_access":{"roles":"a","roles":"b"}}"#;
    assert_eq!(
        Claims::read(payload, &mapping)
            .map(drop)
            .map_err(|error| error.reason),
        Err(Reason::InvalidClaim)
    );
    let payload = r#"{"realm_access":null}"#;
    assert_eq!(
        Claims::read(payload, &mapping)
            .map(drop)
            .map_err(|error| error.reason),
        Err(Reason::InvalidClaim)
    );
}

#[test]
fn a_claim_name_may_be_written_with_escapes() {
    let mut mapping = mapping();
    mapping.roles = Some("https://example.com/roles".into());
    let payload = r#"{"https:\/\/example.com\/roles":["a"]}"#;
    let claims = Claims::read(payload, &mapping).unwrap();
    assert!(claims.roles.contains("a"));
}

#[test]
fn subject_claim_may_be_a_number_sub_not() {
    let mut mapping = mapping();
    mapping.subject = "userId".into();
    let claims = Claims::read(r#"{"userId":42}"#, &mapping).unwrap();
    assert_eq!(claims.subject.as_deref(), Some("42"));
    assert_eq!(
        Claims::read(r#"{"userId":4.2}"#, &mapping)
            .map(drop)
            .map_err(|error| error.reason),
        Err(Reason::InvalidClaim)
    );
    refused(r#"{"sub":42}"#, Reason::InvalidClaim);
}

#[test]
fn one_claim_may_have_two_purposes() {
    let mut mapping = mapping();
    mapping.roles = Some("azp".into());
    let claims = Claims::read(r#"{"azp":"app"}"#, &mapping).unwrap();
    assert_eq!(claims.client(), Some("app"));
    assert!(claims.roles.contains("app"));
}

#[test]
fn a_required_claim_is_required() {
    let mut mapping = mapping();
    mapping.required = vec!["tenant".into()];
    assert_eq!(
        Claims::read(r#"{"x":1}"#, &mapping)
            .map(drop)
            .map_err(|error| error.reason),
        Err(Reason::InvalidClaim)
    );
    assert!(Claims::read(r#"{"tenant":null}"#, &mapping).is_err());
    assert!(Claims::read(r#"{"tenant":false}"#, &mapping).is_ok());
}

#[test]
fn the_issuer_can_be_read_alone() {
    assert_eq!(
        peek_issuer(r#"{"a":{"iss":"no"},"iss":"yes"}"#).unwrap(),
        "yes"
    );
    for (payload, reason) in [
        (r#"{"iss":["yes"]}"#, Reason::InvalidClaim),
        (r#"{"iss":7}"#, Reason::InvalidClaim),
        (r#"{"a":1}"#, Reason::InvalidClaim),
        ("{", Reason::MalformedToken),
        ("[]", Reason::InvalidClaim),
        (r#"{"a":1,"#, Reason::MalformedToken),
        ("\u{0}", Reason::MalformedToken),
    ] {
        assert_eq!(peek_issuer(payload).err(), Some(reason), "{payload}");
    }
}

#[test]
fn members_after_the_issuer_are_validated_later() {
    for (rest, reason) in [
        (r#","iss":"b"}"#, Reason::InvalidClaim),
        (r#","iss":"a"}"#, Reason::InvalidClaim),
        ("", Reason::MalformedToken),
        ("} {}", Reason::MalformedToken),
    ] {
        let payload = format!(r#"{{"iss":"a"{rest}"#);
        assert_eq!(peek_issuer(&payload).unwrap(), "a", "{payload}");
        refused(&payload, reason);
    }
}

#[test]
fn unused_values_are_validated() {
    // A lenient reader would skip each of these, but the next parser would fail, and an unreadable
    // claim would look absent.
    for value in [
        r#""Bob \ud83d""#,
        r#"{"\ud83d":1}"#,
        "1e400",
        r#"{"a":1,"a":2}"#,
        r#"[{"a":{"b":1,"b":1}}]"#,
        &format!("{}{}", "[".repeat(40), "]".repeat(40)),
        "[1,]",
        "01",
        "nul",
    ] {
        for name in ["other", "roles", "scope"] {
            let payload = format!(r#"{{"iss":"i","{name}":{value}}}"#);
            assert!(Claims::read(&payload, &mapping()).is_err(), "{payload}");
        }
        let payload = format!(r#"{{"deep":{{"er":{value},"roles":"a"}}}}"#);
        let mut mapping = mapping();
        mapping.roles = Some(["deep", "roles"].into());
        assert!(Claims::read(&payload, &mapping).is_err(), "{payload}");
    }
    assert!(crate::json::text(b"{\"a\":\"\xff\xfe\"}").is_err());
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(31), "]".repeat(31));
    assert!(Claims::read(&deep, &mapping()).is_ok());
}

#[test]
fn bound_tokens_are_rejected_unless_accepted() {
    let lax = ClaimMapping {
        bound: true,
        ..mapping()
    };
    for value in [r#"{"jkt":"x"}"#, "{}", "7", "\"x\""] {
        let payload = format!(r#"{{"cnf":{value}}}"#);
        refused(&payload, Reason::InvalidClaim);
        assert!(Claims::read(&payload, &lax).is_ok(), "{payload}");
    }
    // A null `cnf` names no key, so no proof is required.
    assert!(Claims::read(r#"{"cnf":null}"#, &mapping()).is_ok());
}

#[test]
fn errors_name_the_configured_claim() {
    let mut mapping = mapping();
    mapping.roles = Some(["realm_access", "roles"].into());
    mapping.required = vec!["tenant".into(), "email".into()];
    mapping.equal = vec![("typ".into(), "Bearer".into())];
    let rest = r#""typ":"Bearer","tenant":"t","email":"e""#;
    for (payload, expected) in [
        (format!(r#"{{"exp":"soon",{rest}}}"#), Some("exp")),
        (format!(r#"{{"cnf":{{}},{rest}}}"#), Some("cnf")),
        (
            format!(r#"{{"realm_access":7,{rest}}}"#),
            Some("realm_access"),
        ),
        (r#"{"typ":"Bearer","email":"e"}"#.to_owned(), Some("tenant")),
        (
            r#"{"typ":"Bearer","tenant":"t","email":null}"#.to_owned(),
            Some("email"),
        ),
        (
            r#"{"typ":"ID","tenant":"t","email":"e"}"#.to_owned(),
            Some("typ"),
        ),
        // The author of the token chose this name.
        (format!(r#"{{"x":{{"y":1,"y":2}},{rest}}}"#), None),
    ] {
        let error = Claims::read(&payload, &mapping).err().unwrap();
        assert_eq!(error.claim.as_deref(), expected, "{payload}");
        assert_eq!(error.reason, Reason::InvalidClaim);
    }
}
