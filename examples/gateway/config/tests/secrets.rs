//! Secrets, and that no output contains them.

use super::{Folder, ISSUER, accepts, read, refuses};
use crate::config::model::{Configuration, KeySource, RateLimitStore};

const SECRET: &str = "the-quick-brown-fox-jumps-over-it";

#[track_caller]
fn check_secret(configuration: &Configuration) {
    let KeySource::Secret(secret) = &configuration.issuers[0].keys else {
        panic!("{configuration:?}")
    };
    assert_eq!(secret.reveal(), SECRET.as_bytes());
    for shown in [
        configuration.to_string(),
        format!("{configuration:?}"),
        format!("{configuration:#?}"),
    ] {
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(!shown.contains("dGhlLXF1aWNr"), "{shown}");
        assert!(shown.contains("(redacted)"), "{shown}");
    }
}

#[test]
fn secret_has_four_forms() {
    // The same in base64.
    const ENCODED: &str = "dGhlLXF1aWNrLWJyb3duLWZveC1qdW1wcy1vdmVyLWl0";
    check_secret(&accepts(&format!("{ISSUER}secret = \"{SECRET}\"\n")));
    check_secret(&accepts(&format!(
        "{ISSUER}secret_base64 = \"{ENCODED}\"\n"
    )));
    for line_end in ["", "\n", "\r\n"] {
        let folder = Folder::new()
            .with("plain", format!("{SECRET}{line_end}"))
            .with("encoded", format!("{ENCODED}{line_end}"));
        for line in [
            "secret_file = \"plain\"",
            "secret_base64_file = \"encoded\"",
        ] {
            check_secret(&folder.read(&format!("{ISSUER}{line}\n")).unwrap());
        }
    }
    check_secret(&read(ISSUER, &[("PORTCULLIS__ISSUERS__0__SECRET", SECRET)]).unwrap());
}

#[test]
fn only_one_newline_is_trimmed() {
    let folder = Folder::new().with("plain", format!("{SECRET}\n\n"));
    let text = format!("{ISSUER}secret_file = \"plain\"\n");
    let configuration = folder.read(&text).unwrap();
    let KeySource::Secret(secret) = &configuration.issuers[0].keys else {
        panic!("{configuration:?}")
    };
    assert_eq!(secret.reveal(), format!("{SECRET}\n").as_bytes());
}

#[test]
fn secret_is_given_once() {
    let folder = Folder::new().with("plain", SECRET);
    folder.refuses(
        &format!("{ISSUER}secret = \"{SECRET}\"\nsecret_file = \"plain\"\n"),
        "gateway.toml:5: `issuers[0].secret_file` and `secret` are both given: keep one",
    );
    folder.refuses(
        &format!("{ISSUER}secret_base64 = \"{SECRET}\"\nsecret_file = \"plain\"\n"),
        "gateway.toml:4: `issuers[0].secret_base64` and `secret_file` are both key sources: keep one\n\
         gateway.toml:4: `issuers[0].secret_base64`: invalid base64",
    );
}

#[test]
fn errors_do_not_contain_secrets() {
    refuses(
        &format!("{ISSUER}secret = \"hunter2\"\n"),
        "gateway.toml:4: `issuers[0].secret`: a secret needs at least 32 bytes (HS384: 48, HS512: 64), this one has 7",
    );
    refuses(
        &format!("{ISSUER}secret_base64 = \"hunter2!\"\n"),
        "gateway.toml:4: `issuers[0].secret_base64`: invalid base64",
    );
    refuses(
        &format!("{ISSUER}secret = 12345\n"),
        "gateway.toml:4: `issuers[0].secret`: expected a string in quotes",
    );
    Folder::new().refuses(
        &format!("{ISSUER}secret_file = \"lost\"\n"),
        "gateway.toml:4: `issuers[0].secret_file`: cannot read FOLDER/lost: No such file or directory (os error 2)",
    );
}

#[test]
fn store_password_and_secret_are_redacted() {
    #[track_caller]
    fn check(read: Configuration) {
        let RateLimitStore::Redis(own) = &read.rate_limit_store else {
            panic!("it is redis")
        };
        assert_eq!(own.url.reveal(), URL.as_bytes());
        assert_eq!(own.secret.as_ref().unwrap().reveal(), SHARED.as_bytes());
        for shown in [read.to_string(), format!("{read:?}")] {
            assert!(
                !shown.contains("p@ss") && !shown.contains(SHARED),
                "{shown}"
            );
        }
        assert!(
            read.to_string()
                .contains("kind = \"redis\"\nurl = \"(redacted)\"\nsecret = \"(redacted)\"\n")
        );
    }
    const URL: &str = "redis://me:p@ss@10.0.0.1:6379/0";
    const SHARED: &str = "of all gateways and nobody else";
    let store = "[rate_limit_store]\nkind = \"redis\"\n";
    check(accepts(&format!(
        "{store}url = \"{URL}\"\nsecret = \"{SHARED}\"\n"
    )));
    let folder = Folder::new();
    let folder = folder
        .with("url", format!("{URL}\n"))
        .with("secret", SHARED);
    let text = format!("{store}url_file = \"url\"\nsecret_file = \"secret\"\n");
    check(folder.read(&text).unwrap());
    // The memory store does not use the URL.
    let shown = accepts(&format!("[rate_limit_store]\nurl = \"{URL}\"\n")).to_string();
    assert!(!shown.contains("redis"), "{shown}");
}
