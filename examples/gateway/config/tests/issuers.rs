//! Issuers and their keys.

use portcullis::{Algorithm, KeyRing, Profile};

use super::{Folder, ISSUER, ROUTE, accepts, refuses};
use crate::config::model::KeySource;

#[track_caller]
fn check(lines: &str, expected: &str) {
    refuses(&format!("{ISSUER}{lines}\n"), expected);
}

#[test]
fn issuer_requires_name_and_audience() {
    refuses(
        "[[issuers]]\n",
        "gateway.toml:1: `issuers[0].issuer` is required\ngateway.toml:1: `issuers[0].audiences` is required",
    );
    refuses(
        "[[issuers]]\nissuer = \"https://a/\"\naudiences = []\n",
        "gateway.toml:3: `issuers[0].audiences`: expected at least one",
    );
    refuses(
        "[[issuers]]\nissuer = \"https://a/\"\naudiences = [\n\"a\",\n\" \"]\n",
        "gateway.toml:5: `issuers[0].audiences`: must not be empty",
    );
    refuses(
        "issuers = []",
        "gateway.toml:1: `issuers` must contain at least one",
    );
    refuses(
        &format!("{ISSUER}{ISSUER}"),
        "gateway.toml:4: issuer \"https://id.example.com/\" is already defined at gateway.toml:1: merge the two sections",
    );
}

#[test]
fn issuer_has_one_key_source() {
    check(
        "jwks_uri = \"https://a/k\"\nsecret = \"01234567890123456789012345678901\"",
        "gateway.toml:5: `issuers[0].secret` and `jwks_uri` are both key sources: keep one",
    );
    let configuration = accepts(ISSUER);
    assert!(matches!(
        configuration.issuers[0].keys,
        KeySource::Discovery
    ));
    check(
        "jwks_uri = \"http://id.example.com/keys\"",
        "gateway.toml:4: `issuers[0].jwks_uri`: URL \"http://id.example.com/keys\": use https: over http an attacker on the network path can replace the keys; or set a `jwks_file`. http is allowed for 127.0.0.1, [::1] and localhost only",
    );
}

#[test]
fn http_issuer_may_have_https_keys() {
    let http = ISSUER.replace("https:", "http:");
    refuses(
        &http,
        "gateway.toml:2: `issuers[0].issuer`: URL \"http://id.example.com/\": use https: over http an attacker on the network path can replace the keys; set a `jwks_uri` with https, or a `jwks_file`. http is allowed for 127.0.0.1, [::1] and localhost only",
    );
    accepts(&format!(
        "{http}jwks_uri = \"https://id.example.com/keys\"\n"
    ));
    let ring = KeyRing::generate(Algorithm::ES256).unwrap();
    let folder = Folder::new().with("keys.json", ring.jwks());
    folder
        .read(&format!("{http}jwks_file = \"keys.json\"\n"))
        .unwrap();
    for local in ["127.0.0.1:8080", "[::1]:8080", "localhost"] {
        accepts(&http.replace("id.example.com", local));
    }
}

#[test]
fn algorithms_fit_the_keys() {
    check(
        "algorithms = [\"RS256\", \"HS256\"]",
        "gateway.toml:4: `issuers[0].algorithms` contains HS256, which needs a `secret` instead of public keys",
    );
    check(
        "secret = \"01234567890123456789012345678901\"\nalgorithms = [\"HS384\"]",
        "gateway.toml:5: `issuers[0].algorithms` contains HS384: a secret of this length supports HS256 only",
    );
    check(
        "algorithms = [\"none\"]",
        "gateway.toml:4: `issuers[0].algorithms`: unknown algorithm \"none\", expected HS, RS or PS with 256, 384 or 512, ES256, ES384 or EdDSA",
    );
    let text = format!("{ISSUER}secret = \"0123456789012345678901234567890123456789012345678\"\n");
    let issuer = accepts(&text).issuers.remove(0);
    assert_eq!(issuer.algorithms, [Algorithm::HS256, Algorithm::HS384]);
}

#[test]
fn named_claims_override_the_profile() {
    check(
        "profile = \"keyclock\"",
        "gateway.toml:4: `issuers[0].profile`: unknown value \"keyclock\", expected one of generic, rfc9068, keycloak, auth0, entra, okta, cognito, google",
    );
    let issuer = |lines: &str| accepts(&format!("{ISSUER}{lines}\n")).issuers.remove(0);
    let keycloak = issuer("profile = \"keycloak\"");
    assert_eq!(keycloak.profile, Profile::Keycloak);
    assert_eq!(
        (keycloak.roles_claim, keycloak.permissions_claim),
        (None, None)
    );
    let rfc9068 = issuer("profile = \"rfc9068\"");
    assert_eq!(rfc9068.profile, Profile::Rfc9068);
    assert_eq!(rfc9068.token_types, ["at+jwt"]);
    let named = issuer("roles_claim = [\"realm_access\", \"roles\"]");
    assert_eq!(named.profile, Profile::Generic);
    assert_eq!(named.roles_claim.unwrap().0, ["realm_access", "roles"]);
}

#[test]
fn library_errors_name_the_issuers_line() {
    check(
        "leeway = \"11m\"",
        "gateway.toml:4: `issuers[0].leeway`: use at most 10 minutes: a larger leeway hides a broken clock",
    );
    check(
        "[issuers.jwks]\nmin_ttl = \"2h\"",
        "gateway.toml:5: `issuers[0].jwks.min_ttl` is longer than `max_ttl`: lower it, or raise `max_ttl`",
    );
    check(
        "subject_claim = \"aud\"",
        "gateway.toml:4: `issuers[0].subject_claim`: \"aud\" has a fixed meaning: choose another claim",
    );
    refuses(
        "[[issuers]]\nissuer = \"id\"\naudiences = [\"a\"]\n",
        "gateway.toml:2: `issuers[0].issuer`: URL \"id\": not absolute: add the scheme and the host",
    );
    check(
        "jwks_uri = \"https://me:hunter2@id.example.com/keys\"",
        "gateway.toml:4: `issuers[0].jwks_uri`: URL \"(user information removed)@id.example.com/keys\": remove the user information before the `@`",
    );
    check(
        "[issuers.jwks]\ncooldown = \"0s\"",
        "gateway.toml:5: `issuers[0].jwks.cooldown`: must not be zero",
    );
}

#[test]
fn key_files_are_relative_to_configuration() {
    let ring = KeyRing::generate(Algorithm::ES256).unwrap();
    let folder = Folder::new()
        .with("keys.json", ring.jwks())
        .with("broken.json", "{}")
        .with("text.pem", "text");
    let read = folder.read(&format!("{ISSUER}jwks_file = \"keys.json\"\n"));
    let issuer = read.unwrap().issuers.remove(0);
    let KeySource::JwksFile(file) = &issuer.keys else {
        panic!("{issuer:?}")
    };
    assert_eq!(file.content, ring.jwks().as_bytes());
    folder.refuses(
        &format!("{ISSUER}jwks_file = \"lost.json\"\n"),
        "gateway.toml:4: `issuers[0].jwks_file`: cannot read FOLDER/lost.json: No such file or directory (os error 2)",
    );
    let text = format!("{ISSUER}jwks_file = \"broken.json\"\n");
    let invalid = folder.read(&text).unwrap_err().to_string();
    assert!(
        invalid.starts_with("gateway.toml:4: `issuers[0].jwks_file`: key: "),
        "{invalid}"
    );
    let text = format!("{ISSUER}public_key_file = \"text.pem\"\n");
    let invalid = folder.read(&text).unwrap_err().to_string();
    assert!(
        invalid.starts_with("gateway.toml:4: `issuers[0].public_key_file`: key: "),
        "{invalid}"
    );
    folder.refuses(
        &format!("{ISSUER}ca = \"text.pem\"\n"),
        "gateway.toml:4: `issuers[0].ca`: FOLDER/text.pem: contains no certificate in PEM",
    );
}

#[test]
fn protected_route_requires_issuer() {
    let route = ROUTE.strip_prefix(ISSUER).unwrap();
    refuses(
        route,
        "gateway.toml:1: `routes[0].public` is false, but no token can be accepted: add [[issuers]], or make the route public",
    );
    accepts(&format!("{route}public = true\n"));
}
