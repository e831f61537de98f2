//! Claims of a valid token, and the grants that each profile derives from them.
//!
//! The input is the content of a JSON object, in addition to the claims that every token needs.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portcullis::{JwtAuthLayer, Names, Profile};
use portcullis_fuzz::{
    AUDIENCE, HEADER, ISSUER, NOW, assert_blames_the_client, issuer, layer, sign,
};
use serde_json::Value;

/// The claims that a profile documents, and its further requirements.
struct Reading {
    layer: JwtAuthLayer,
    needs: &'static str,
    roles: &'static [&'static str],
    permissions: &'static [&'static str],
    scopes: &'static [&'static str],
    clients: &'static [&'static str],
}

static READINGS: LazyLock<Vec<Reading>> = LazyLock::new(|| {
    let reading = |profile, needs, roles, permissions, scopes, clients| Reading {
        layer: layer([issuer().profile(profile)]),
        needs,
        roles,
        permissions,
        scopes,
        clients,
    };
    vec![
        reading(
            Profile::Generic,
            "",
            &["roles"],
            &["permissions"],
            &["scope", "scp"],
            &["azp", "client_id"],
        ),
        reading(
            Profile::Keycloak,
            r#","typ":"Bearer""#,
            &["realm_access", "roles"],
            &[],
            &["scope"],
            &["azp"],
        ),
        reading(
            Profile::Auth0,
            "",
            &[],
            &["permissions"],
            &["scope"],
            &["azp", "client_id"],
        ),
        reading(
            Profile::Entra,
            "",
            &["roles"],
            &[],
            &["scp"],
            &["azp", "appid"],
        ),
        reading(Profile::Okta, "", &["groups"], &[], &["scp"], &["cid"]),
        reading(
            Profile::Cognito,
            r#","token_use":"access","client_id":"orders-api""#,
            &["cognito:groups"],
            &[],
            &["scope"],
            &["client_id"],
        ),
        reading(Profile::Google, "", &[], &[], &[], &["azp"]),
    ]
});

fuzz_target!(|data: &[u8]| {
    let Ok(more) = std::str::from_utf8(data) else {
        return;
    };
    for reading in &*READINGS {
        let claims = format!(
            r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","exp":{}{}{}{more}}}"#,
            NOW + 300,
            reading.needs,
            if more.is_empty() { "" } else { "," },
        );
        let identity = match reading
            .layer
            .verify_now(&sign(HEADER.as_bytes(), claims.as_bytes()))
        {
            Ok(identity) => identity,
            Err(rejection) => {
                assert_blames_the_client(rejection.reason());
                continue;
            }
        };
        let claims: Value = serde_json::from_str(&claims).unwrap();
        assert_eq!(identity.subject(), claims["sub"]);
        let at = |path: &[&str]| path.iter().try_fold(&claims, |value, name| value.get(name));
        let list = |path: &[&str], spaced| names(at(path).filter(|_| !path.is_empty()), spaced);
        assert_eq!(collect(identity.roles()), list(reading.roles, false));
        assert_eq!(
            collect(identity.permissions()),
            list(reading.permissions, false)
        );
        // In the order of the token.
        let mut scopes = collect(identity.scopes());
        scopes.sort();
        let mut expected: Vec<_> = reading
            .scopes
            .iter()
            .flat_map(|name| list(&[name], true))
            .collect();
        expected.sort();
        assert_eq!(scopes, expected);
        let client = reading.clients.iter().find_map(|name| claims.get(name));
        assert_eq!(
            identity.client(),
            client.map(|client| client.as_str().unwrap())
        );
    }
});

fn collect(names: &Names) -> Vec<String> {
    names.iter().map(str::to_owned).collect()
}

/// A string, or an array that contains only strings.
fn names(value: Option<&Value>, spaced: bool) -> Vec<String> {
    match value {
        None => Vec::new(),
        Some(Value::String(text)) if spaced => {
            let names = text.split(' ').filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        }
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
        Some(other) => panic!("{other} grants nothing, and was accepted"),
    }
}
