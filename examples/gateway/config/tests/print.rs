//! The output of `--check`.

use super::{accepts, read};

#[test]
fn check_output_is_a_configuration() {
    for text in ["", include_str!("../../gateway.toml"), super::ROUTE] {
        let shown = accepts(text).to_string();
        assert_eq!(accepts(&shown).to_string(), shown);
    }
}

#[test]
fn check_output_shows_defaults_and_environment() {
    let configuration = read(super::ROUTE, &[("PORTCULLIS__REALM", "a\u{7f}b\tc")]);
    assert!(configuration.is_err(), "a control character in a realm");
    let shown = read(super::ROUTE, &[("PORTCULLIS__REALM", "orders")])
        .unwrap()
        .to_string();
    for line in [
        "realm = \"orders\"",
        "request_timeout = \"30s\"",
        "max_body = 2097152",
        "# tls: none",
        "# jwks_uri: from the issuer's metadata",
        "token_types = [\"at+jwt\", \"JWT\", \"\"]",
        "max_stale = \"3600s\"",
        "timeout = \"30s\"",
        "public = false",
        "mode = \"enforce\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} in\n{shown}"
        );
    }
}

#[test]
fn strings_are_escaped_as_toml() {
    let text = super::ROUTE.replace("orders-api", r#"a\"b\\c\u007f\n\u0001ä"#);
    let configuration = accepts(&text);
    let again = accepts(&configuration.to_string());
    assert_eq!(
        again.issuers[0].audiences,
        configuration.issuers[0].audiences
    );
    assert_eq!(again.issuers[0].audiences, ["a\"b\\c\u{7f}\n\u{1}ä"]);
}
