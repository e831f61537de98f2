//! Syntax errors, top-level settings, plans and stores.

use super::{accepts, read, refuses};
use crate::config::model::{OnError, RateLimitStore, RevocationStore, StoreMode};

#[test]
fn syntax_error_names_line_without_quoting() {
    refuses(
        "listen = \"127.0.0.1:1\"\nrealm = hunter2\n",
        "gateway.toml:2: invalid TOML: string values must be quoted, expected literal string",
    );
    refuses(
        "a = 1\na = 1\n",
        "gateway.toml:2: invalid TOML: duplicate key `a`",
    );
    refuses(
        "[a.b]\n[a]\nc = 1\nc = \"hunter2\"\n",
        "gateway.toml:4: invalid TOML: duplicate key `c`",
    );
    refuses(
        "[a]\n[b]\n[a]\n",
        "gateway.toml:3: invalid TOML: duplicate key `a`",
    );
    for text in [
        "a.b = 1\na.b = \"hunter2\"\n",
        "\na = { b = 1, b = \"hunter2\" }\n",
        "[a]\n[a.b]\n[a.b]\nc = \"hunter2\"\n",
        "a = 1\na.b = \"hunter2\"\n",
        "a = 1\n[a]\nb = \"hunter2\"\n",
    ] {
        let error = read(text, &[]).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn unknown_key_lists_known_keys() {
    refuses(
        "[token_sources]\n\ncookies = \"a\"\n",
        "gateway.toml:3: `token_sources.cookies` is not a key; expected one of cookie, websocket_protocol",
    );
    let text = "[[consumers]]\nname = \"a\"\nclient = \"a\"\ncolour = 1\n";
    refuses(
        text,
        "gateway.toml:4: `consumers[0].colour` is not a key; expected one of name, client, subject, plan",
    );
}

#[test]
fn all_errors_are_reported_in_file_order() {
    refuses(
        "max_body = \"many\"\nlisten = \"here\"\n[mint]\n",
        "gateway.toml:1: `max_body`: expected a number of bytes, or a size such as \"2MiB\"\n\
         gateway.toml:2: `listen`: \"here\" is not an address with a port, such as \"127.0.0.1:8080\"\n\
         gateway.toml:3: `mint` is not supported yet: remove the section, and `propagate = \"mint\"`",
    );
}

#[test]
fn top_level_values_are_validated() {
    #[track_caller]
    fn check(line: &str, problem: &str) {
        refuses(
            &format!("\n{line}\n"),
            &format!("gateway.toml:2: {problem}"),
        );
    }
    check("listen = 8080", "`listen`: expected a string in quotes");
    check(
        "admin_listen = \"127.0.0.1:8080\"",
        "`admin_listen` equals `listen`: choose another port",
    );
    check(
        "trusted_proxies = [\"10.0.0.0/33\"]",
        "`trusted_proxies`: \"10.0.0.0/33\" is not a network, such as \"10.0.0.0/8\"",
    );
    for everybody in ["0.0.0.0/0", "::/0"] {
        check(
            &format!("trusted_proxies = [\"{everybody}\"]"),
            "`trusted_proxies`: name the networks of your proxies: if every host is trusted, each client chooses its address",
        );
    }
    check(
        "trusted_proxies = \"10.0.0.0/8\"",
        "`trusted_proxies`: expected a list, [..]",
    );
    check(
        "realm = 'a\"b'",
        "`realm`: use printable ASCII without quotes and backslashes",
    );
    for text in [
        "30",
        "s",
        "",
        "-1s",
        "1.5s",
        "1 s",
        "30S",
        "1h30m",
        "99999999999999999999s",
    ] {
        check(
            &format!("request_timeout = \"{text}\""),
            &format!(
                "`request_timeout`: {text:?} is not a duration: use an integer with ms, s, m, h or d, such as \"30s\""
            ),
        );
    }
    check(
        "request_timeout = \"0s\"",
        "`request_timeout`: must not be zero",
    );
    check(
        "request_timeout = \"367d\"",
        "`request_timeout`: \"367d\" is longer than a year",
    );
    for size in [
        "-1",
        "1.5",
        "\"2mib\"",
        "\"+2\"",
        "\"\"",
        "\"2 MiB\"",
        "\"99999999999GiB\"",
        "true",
    ] {
        check(
            &format!("max_body = {size}"),
            "`max_body`: expected a number of bytes, or a size such as \"2MiB\"",
        );
    }
    check(
        "log = \"inof\"",
        "`log`: unknown log level \"inof\", expected one of off, error, warn, info, debug, trace",
    );
    check(
        "cors_preflight = \"allow\"",
        "`cors_preflight`: unknown value \"allow\", expected one of authenticate, pass",
    );
}

#[test]
fn durations_sizes_networks_and_levels() {
    let configuration = accepts(
        "request_timeout = \"1500ms\"\nmax_body = \"3KiB\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nlog = \"warn,portcullis=debug\"\n",
    );
    assert_eq!(configuration.request_timeout.as_millis(), 1500);
    assert_eq!(configuration.max_body, 3072);
    assert_eq!(configuration.trusted_proxies.networks().count(), 2);
    assert_eq!(accepts("max_body = 0").max_body, 0);
    assert_eq!(accepts("max_body = \"1GB\"").max_body, 1_000_000_000);
}

#[test]
fn plans_stores_and_limits() {
    refuses(
        "[plans.pro]\nrequests = 0\nper = \"1m\"\n",
        "gateway.toml:2: `plans.pro.requests`: expected a number between 1 and 4294967295",
    );
    refuses(
        "[plans.pro]\nrequests = 1\n",
        "gateway.toml:1: `plans.pro.per` is required",
    );
    // Only the invalid value is reported, not the reference to the plan.
    refuses(
        "[plans.pro]\nrequests = 1\nper = \"1\"\n[[consumers]]\nname = \"a\"\nclient = \"a\"\nplan = \"pro\"\n",
        "gateway.toml:3: `plans.pro.per`: \"1\" is not a duration: use an integer with ms, s, m, h or d, such as \"30s\"",
    );
    refuses(
        "[plans]\npro = 1\n",
        "gateway.toml:2: `plans.pro`: expected a table",
    );
    refuses(
        "[failed_auth_limit]\nrequests = 20\n",
        "gateway.toml:1: `failed_auth_limit.per` is required",
    );
    refuses(
        "failed_auth_limit = 3",
        "gateway.toml:1: `failed_auth_limit`: expected a table",
    );
    let limit = accepts("[failed_auth_limit]\nrequests = 20\nper = \"1m\"\n").failed_auth_limit;
    assert_eq!(limit.unwrap().burst.get(), 20);
}

#[test]
fn rate_limit_store_settings_are_validated() {
    const URL: &str = "`rate_limit_store.url`: use redis://host:port/database, rediss://host:port/database for TLS, or unix:///path";
    for (lines, problem) in [
        (
            "kind = \"disk\"",
            "`rate_limit_store.kind`: unknown value \"disk\", expected one of memory, redis",
        ),
        ("url = \"http://x\"", URL),
        ("kind = \"redis\"\nurl = \"redis://\"", URL),
        (
            "secret = \"short\"",
            "`rate_limit_store.secret`: use at least 16 random bytes, the same in all gateways",
        ),
        (
            "mode = \"lazy\"",
            "`rate_limit_store.mode`: unknown value \"lazy\", expected one of exact, leased",
        ),
        (
            "on_error = \"panic\"",
            "`rate_limit_store.on_error`: unknown value \"panic\", expected one of local, open, closed",
        ),
        (
            "expected_nodes = 0",
            "`rate_limit_store.expected_nodes`: expected a number between 1 and 4294967295",
        ),
        (
            "timeout = \"1s\"",
            "`rate_limit_store.timeout` is not a key; expected one of kind, url, url_file, secret, secret_file, mode, on_error, expected_nodes",
        ),
    ] {
        let line = lines.lines().count() + 1;
        refuses(
            &format!("[rate_limit_store]\n{lines}\n"),
            &format!("gateway.toml:{line}: {problem}"),
        );
    }
    for text in [
        "",
        "[rate_limit_store]\n",
        "[rate_limit_store]\nmode = \"exact\"\n",
    ] {
        assert_eq!(accepts(text).rate_limit_store, RateLimitStore::Memory);
    }
    let RateLimitStore::Redis(least) =
        accepts("[rate_limit_store]\nkind = \"redis\"\n").rate_limit_store
    else {
        panic!("it is redis")
    };
    assert_eq!(least.url.reveal(), b"redis://127.0.0.1:6379");
    assert_eq!(
        (least.mode, least.on_error, least.expected_nodes.get()),
        (StoreMode::Leased, OnError::Local, 2)
    );
    assert_eq!(least.secret, None);
}

#[test]
fn planned_features_are_rejected() {
    refuses(
        "admin_listen = \"127.0.0.1:0\"\n[revocation]\nkind = \"redis\"\n",
        "gateway.toml:3: `revocation.kind`: \"redis\" is not supported yet: use \"memory\", and send each revocation to every instance",
    );
    refuses(
        "[exchange]\n",
        "gateway.toml:1: `exchange` is not supported yet: remove the section, and `propagate = \"exchange\"`",
    );
}

#[test]
fn revocation_requires_memory_and_admin_listener() {
    let with = |lines: &str| format!("admin_listen = \"127.0.0.1:0\"\n{lines}");
    assert_eq!(accepts("").revocation, None);
    for lines in [
        "[revocation]\n",
        "[revocation]\nkind = \"memory\"\nurl = \"redis://a\"\nwhen_stale = \"closed\"\n",
    ] {
        let revocation = accepts(&with(lines)).revocation;
        assert_eq!(revocation, Some(RevocationStore::Memory), "{lines}");
    }
    refuses(
        "[revocation]\nkind = \"memory\"\n",
        "gateway.toml:1: `revocation` needs `admin_listen`, through which revocations arrive: add it, or remove the section",
    );
    for (line, problem) in [
        (
            "kind = \"disk\"",
            "`revocation.kind`: unknown value \"disk\", expected one of memory",
        ),
        (
            "url = \"http://a\"",
            "`revocation.url`: use redis://host:port/database, rediss://host:port/database for TLS, or unix:///path",
        ),
        (
            "when_stale = \"open\"",
            "`revocation.when_stale`: unknown value \"open\", expected one of last-known, closed",
        ),
        (
            "colour = 1",
            "`revocation.colour` is not a key; expected one of kind, url, url_file, when_stale",
        ),
    ] {
        refuses(
            &with(&format!("[revocation]\n{line}\n")),
            &format!("gateway.toml:3: {problem}"),
        );
    }
}

#[test]
fn token_cache_size_is_read() {
    for (text, expected) in [
        ("", 64 << 20),
        ("[token_cache]\n", 64 << 20),
        ("[token_cache]\nmax_bytes = 0\n", 0),
        ("[token_cache]\nmax_bytes = \"1MiB\"\n", 1 << 20),
    ] {
        assert_eq!(accepts(text).token_cache, expected, "{text}");
    }
}
