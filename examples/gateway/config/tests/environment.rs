//! Environment variables.

use super::{ISSUER, ROUTE, read};
use crate::config::model::Configuration;

#[track_caller]
fn with(text: &str, variables: &[(&str, &str)]) -> Configuration {
    read(text, variables).unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[track_caller]
fn refuses(variables: &[(&str, &str)], expected: &str) {
    let invalid = read(ROUTE, variables)
        .err()
        .map(|invalid| invalid.to_string());
    assert_eq!(invalid.as_deref(), Some(expected));
}

#[test]
fn variable_overrides_file() {
    let configuration = with(
        &format!("listen = \"127.0.0.1:1\"\nmax_body = 1\n{ROUTE}"),
        &[
            ("PORTCULLIS__LISTEN", "127.0.0.1:2"),
            ("PORTCULLIS__MAX_BODY", "5KiB"),
            ("PORTCULLIS__REALM", "7"),
            ("PORTCULLIS__TOKEN_SOURCES__WEBSOCKET_PROTOCOL", "true"),
            ("PORTCULLIS__ROUTES__0__METHODS", "[\"GET\"]"),
            ("PORTCULLIS__ROUTES__0__REQUIRE", "{ role = \"a\" }"),
            ("PORTCULLIS__IDENTITY_HEADERS", "{ x-user-id = \"sub\" }"),
            ("PORTCULLIS__IDENTITY_HEADERS__X_USER_ID", "iss"),
            ("PORTCULLIS__FAILED_AUTH_LIMIT__REQUESTS", "3"),
            ("PORTCULLIS__FAILED_AUTH_LIMIT__PER", "1m"),
            ("ANOTHER__LISTEN", "nowhere"),
        ],
    );
    assert_eq!(configuration.listen.port(), 2);
    assert_eq!(configuration.max_body, 5 * 1024);
    assert_eq!(configuration.realm, "7");
    assert!(configuration.token_sources.websocket_protocol);
    assert_eq!(configuration.routes[0].methods.as_ref().unwrap().len(), 1);
    let rules = configuration.routes[0].access.rules();
    assert_eq!(rules.unwrap().to_string(), "role:a");
    assert_eq!(configuration.identity_headers.len(), 1);
    assert_eq!(configuration.failed_auth_limit.unwrap().requests.get(), 3);
}

#[test]
fn lists_are_toml_json_or_indexed() {
    let audiences = |value: &str| {
        let mut configuration = with(ISSUER, &[("PORTCULLIS__ISSUERS__0__AUDIENCES", value)]);
        configuration.issuers.remove(0).audiences
    };
    assert_eq!(audiences("[\"a\", \"b\"]"), ["a", "b"]);
    assert_eq!(audiences("['a', 'b',]"), ["a", "b"]);
    let configuration = with(
        ROUTE,
        &[
            (
                "PORTCULLIS__ROUTES__0__REQUIRE",
                "{\"any\": [{\"role\": \"a\"}]}",
            ),
            ("PORTCULLIS__ISSUERS__0__AUDIENCES__1", "second"),
            (
                "PORTCULLIS__ISSUERS__1__ISSUER",
                "https://other.example.com/",
            ),
            ("PORTCULLIS__ISSUERS__1__AUDIENCES__0", "a"),
            ("PORTCULLIS__ISSUERS__1__ROLES_CLAIM", "[\"a\", \"b\"]"),
        ],
    );
    assert_eq!(configuration.issuers[0].audiences, ["orders-api", "second"]);
    assert_eq!(configuration.issuers[1].audiences, ["a"]);
    let roles = configuration.issuers[1].roles_claim.as_ref();
    assert_eq!(roles.unwrap().0, ["a", "b"]);
    let rules = configuration.routes[0].access.rules();
    assert_eq!(rules.unwrap().to_string(), "any(role:a)");
}

#[test]
fn elements_are_added_in_index_order() {
    let names: Vec<String> = (1..12)
        .map(|at| format!("PORTCULLIS__ISSUERS__0__AUDIENCES__{at}"))
        .collect();
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "a")).collect();
    assert_eq!(with(ISSUER, &variables).issuers[0].audiences.len(), 12);
}

#[test]
fn error_names_the_variable() {
    refuses(
        &[("PORTCULLIS__LISTEN", "here")],
        "PORTCULLIS__LISTEN: `listen`: \"here\" is not an address with a port, such as \"127.0.0.1:8080\"",
    );
    refuses(
        &[("PORTCULLIS__TOKEN_SOURCES__COOKIES", "a")],
        "PORTCULLIS__TOKEN_SOURCES__COOKIES: `token_sources.cookies` is not a key; expected one of cookie, websocket_protocol",
    );
    refuses(
        &[("PORTCULLIS__ISSUERS__0__AUDIENCES", "orders-api")],
        "PORTCULLIS__ISSUERS__0__AUDIENCES: `issuers[0].audiences`: expected a list, [..]",
    );
    refuses(
        &[("PORTCULLIS__ISSUERS__7__AUDIENCES", "[]")],
        "PORTCULLIS__ISSUERS__7__AUDIENCES: index 7 is out of range for a list of length 1 (indexes start at 0)",
    );
    refuses(
        &[("PORTCULLIS__ISSUERS__FIRST__AUDIENCES", "[]")],
        "PORTCULLIS__ISSUERS__FIRST__AUDIENCES: expected the index of a list element, found FIRST",
    );
    refuses(
        &[("PORTCULLIS__ROUTES__0__PATH__X", "a")],
        "PORTCULLIS__ROUTES__0__PATH__X: `x` does not exist: the value is neither a table nor a list",
    );
    for name in ["PORTCULLIS__", "PORTCULLIS____A", "PORTCULLIS__LISTEN__"] {
        refuses(
            &[(name, "a")],
            &format!("{name}: does not name a key: use PORTCULLIS__SECTION__KEY"),
        );
    }
    refuses(
        &[("PORTCULLIS__MINT__ISSUER", "a")],
        "PORTCULLIS__MINT__ISSUER: `mint` is not supported yet: remove the section, and `propagate = \"mint\"`",
    );
}

#[cfg(unix)]
#[test]
fn invalid_utf8_names_the_variable() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let variable = (
        OsString::from("PORTCULLIS__REALM"),
        OsString::from_vec(vec![0xff]),
    );
    let files = crate::config::files::Files::beside("gateway.toml".as_ref());
    let invalid = crate::config::read::parse("", &"gateway.toml".into(), files, [variable]);
    assert_eq!(
        invalid.unwrap_err().to_string(),
        "PORTCULLIS__REALM: the value is not valid UTF-8"
    );
}
