//! Start-up: configuration errors, warnings, `--check`, and reloads.

use std::fs;
use std::time::Duration;

use super::authority::Authority;
use super::harness::{AUDIENCE, Folder, Gateway, client, issuer, outcome, section};
use super::process::{Ended, Running, run};
use super::upstream::Upstream;

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// Eleven lines: what follows starts in line 12, inside the route.
const GOOD: &str = r#"listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[[consumers]]
name = "acme"
client = "acme-app"
[[issuers]]
issuer = "https://id.example.com/"
audiences = ["orders-api"]
[[routes]]
path = "/orders"
upstream = "http://127.0.0.1:3002"
"#;

fn check(folder: &Folder, text: &str) -> Ended {
    folder.write("gateway.toml", text);
    let file = folder.0.join("gateway.toml");
    run("gateway", &["--config", file.to_str().unwrap(), "--check"])
}

/// A line of the valid configuration, its replacement, the line of the error, and part of its text.
/// `examples/gateway/config/tests` has the rows of every key.
#[rustfmt::skip]
const WRONG: &[(usize, &str, usize, &str)] = &[
    (1, "listen = 127.0.0.1", 1, "invalid TOML"),
    (1, "colour = 1", 1, "`colour` is not a key"),
    (9, "[issuers.jwks]\ncolour = 1\n[[routes]]", 10, "`issuers[0].jwks.colour` is not a key"),
    (1, "listen = \"here\"", 1, "`listen`: \"here\" is not an address with a port, such as \"127.0.0.1:8080\""),
    (12, "[tls]\ncert = \"lost.pem\"\nkey = \"server.key\"", 13, "`tls.cert`: cannot read"),
    (12, "[tls]\ncert = \"server.pem\"\nkey = \"other.key\"", 12, "invalid TLS configuration"),
    (7, "issuer = \"http://id.example.com/\"", 7, "use https"),
    (9, "secret = \"short\"\n[[routes]]", 9, "`issuers[0].secret`: a secret needs at least 32 bytes (HS384: 48, HS512: 64), this one has 5"),
    (9, "leeway = \"11m\"\n[[routes]]", 9, "at most 10 minutes"),
    (5, "client = \"a\"\nplan = \"pro\"", 6, "`consumers[0].plan` names \"pro\", which is not in [plans]"),
    (10, "path = \"orders\"", 10, "`routes[0].path`: \"orders\" must start with `/`"),
    (12, "require = { user = \"a\" }", 12, "unknown \"user\": expected one of role, scope"),
    (12, "[mint]\nissuer = \"https://a/\"", 12, "`mint` is not supported yet: remove the section, and `propagate = \"mint\"`"),
];

#[test]
fn errors_name_their_line() {
    let authority = Authority::new();
    let (pair, other) = (authority.issue(), authority.issue());
    let folder = Folder::new();
    folder.write("server.pem", &pair.certificate);
    folder.write("server.key", &pair.key);
    folder.write("other.key", &other.key);
    folder.write("text", "text");
    assert_eq!(check(&folder, GOOD).code, Some(0));
    for (line, text, at, expected) in WRONG {
        let mut lines: Vec<&str> = GOOD.lines().collect();
        match lines.get_mut(line - 1) {
            Some(line) => *line = text,
            None => lines.push(text),
        }
        let wrong = lines.join("\n");
        let Ended {
            code,
            stdout,
            stderr,
        } = check(&folder, &wrong);
        assert_eq!((code, &*stdout), (Some(1), ""), "accepted:\n{wrong}");
        let place = format!("gateway.toml:{at}: ");
        let is_expected = |line: &str| line.contains(&place) && line.contains(expected);
        assert!(
            stderr.lines().any(is_expected),
            "{place}{expected}\n{stderr}\nof:\n{wrong}"
        );
    }
}

#[test]
fn invalid_configuration_does_not_serve() {
    let folder = Folder::new();
    folder.write("gateway.toml", GOOD.replace("3002", "port"));
    let file = folder.0.join("gateway.toml");
    let ended = run("gateway", &["--config", file.to_str().unwrap()]);
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(
        ended
            .stderr
            .contains("gateway.toml:11: `routes[0].upstream`"),
        "{}",
        ended.stderr
    );
    let ended = run("gateway", &["--config", "nowhere/gateway.toml"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("nowhere/gateway.toml: cannot read the file"),
        "{}",
        ended.stderr
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, line) in [("listen", 0), ("admin_listen", 1)] {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        lines[line] = format!("{key} = \"{address}\"");
        folder.write("gateway.toml", lines.join("\n"));
        let ended = run("gateway", &["--config", file.to_str().unwrap()]);
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
        assert!(
            ended
                .stderr
                .contains(&format!("`{key}`: cannot listen on {address}")),
            "{}",
            ended.stderr
        );
    }
}

/// The output of `--check` is an equivalent configuration without secrets.
#[test]
fn check_shows_configuration_without_secrets() {
    let folder = Folder::new();
    let text = GOOD.replace("audiences", &format!("secret = \"{SECRET}\"\naudiences"));
    let shown = check(&folder, &text);
    assert_eq!((shown.code, &*shown.stderr), (Some(0), ""));
    assert!(!shown.stdout.contains(SECRET), "{}", shown.stdout);
    for line in [
        "secret = \"(redacted)\"",
        "algorithms = [\"HS256\"]",
        "request_timeout = \"30s\"",
        "kind = \"memory\"",
        "# revocation: none",
        "propagate = \"none\"",
    ] {
        let is_shown = shown.stdout.lines().any(|shown| shown == line);
        assert!(is_shown, "{line} in {}", shown.stdout);
    }
    assert!(
        !shown.stdout.contains("redis"),
        "the memory store does not use it: {}",
        shown.stdout
    );
    let again = check(&folder, &shown.stdout.replace("(redacted)", SECRET));
    assert_eq!(again.stdout, shown.stdout, "{}", again.stderr);
    // The unmodified sample.
    let sample = fs::read_to_string("examples/gateway/gateway.toml").unwrap();
    let shown = check(&folder, &sample);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
}

#[tokio::test]
async fn environment_overrides_file_after_reload() {
    let (issuer, file, variable) = (
        issuer().await,
        Upstream::start("file").await,
        Upstream::start("variable").await,
    );
    let folder = Folder::new();
    folder.write("secret", format!("{SECRET}\n"));
    let configuration = format!(
        "realm = \"file\"\n{}[identity_headers]\nx-user-id = \"sub\"\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        section(&issuer),
        file.url()
    );
    let upstream = variable.url();
    let variables = [
        ("PORTCULLIS__REALM", "variable"),
        ("PORTCULLIS__ROUTES__0__UPSTREAM", &*upstream),
        ("PORTCULLIS__ROUTES__0__REQUIRE", r#"{"role": "admin"}"#),
        ("PORTCULLIS__ROUTES__0__METHODS", "[\"GET\"]"),
        ("PORTCULLIS__IDENTITY_HEADERS__X_USER_ID", "tenant"),
        ("PORTCULLIS__ISSUERS__1__ISSUER", "https://secret.example/"),
        ("PORTCULLIS__ISSUERS__1__AUDIENCES__0", AUDIENCE),
        ("PORTCULLIS__ISSUERS__1__SECRET_FILE", "secret"),
    ];
    let gateway = Gateway::start_with(folder, &configuration, &variables).await;
    for reloaded in [false, true] {
        if reloaded {
            gateway.reconfigure(&format!("max_body = 0\n{configuration}"));
            gateway.signal("HUP");
            gateway
                .wait_for_line(|line| line.contains("\"reloaded\""))
                .await;
        }
        let answer = client().get(gateway.url("/")).send().await.unwrap();
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(challenge, "Bearer realm=\"variable\"");
        let token = issuer.token("alice").claim("tenant", "t-1");
        let get = |token: String| client().get(gateway.url("/")).bearer_auth(token);
        assert_eq!(outcome(get(token.clone().sign())).await.0, 403);
        let answer = get(token.role("admin").sign()).send().await.unwrap();
        let received = super::upstream::received(answer).await.unwrap();
        assert_eq!(received["service"], "variable");
        assert_eq!(super::upstream::header(&received, "x-user-id"), Some("t-1"));
        let posted = client().post(gateway.url("/"));
        assert_eq!(outcome(posted).await.0, 405);
        // Only the environment defines the second issuer.
        let claims = serde_json::json!({
            "iss": "https://secret.example/", "aud": AUDIENCE, "sub": "bob", "exp": 4_000_000_000_u64,
            "tenant": "t-2", "roles": "admin",
        });
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
        assert_eq!(outcome(get(token)).await.0, 200);
    }
}

#[test]
fn invalid_variable_is_named() {
    let folder = Folder::new();
    folder.write("gateway.toml", GOOD);
    let file = folder.0.join("gateway.toml");
    for (name, value, expected) in [
        (
            "PORTCULLIS__LISTEN",
            "here",
            "`listen`: \"here\" is not an address",
        ),
        ("PORTCULLIS__COLOUR", "1", "`colour` is not a key"),
        (
            "PORTCULLIS__ROUTES__7__PATH",
            "/",
            "index 7 is out of range",
        ),
        ("PORTCULLIS__ROUTES__0__METHODS", "GET", "expected a list"),
    ] {
        let arguments = ["--config", file.to_str().unwrap(), "--check"];
        let variables = [(name.to_owned(), value.to_owned())];
        let ended = Running::start_with("gateway", &arguments, &variables).end();
        assert_eq!(ended.code, Some(1));
        let is_named =
            ended.stderr.contains(&format!("{name}: ")) && ended.stderr.contains(expected);
        assert!(is_named, "{name}: {}", ended.stderr);
    }
}

#[test]
fn warnings_name_their_line_and_do_not_fail() {
    let folder = Folder::new();
    let rule = "require_for = { POST = { role = \"admin\" } }\n";
    let ended = check(&folder, &format!("{GOOD}{rule}"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = ":12: `routes[0].require_for` admits any verified caller for all other methods";
    assert!(ended.stderr.starts_with("warning: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    let shown = "# require: any verified caller";
    assert!(ended.stdout.contains(shown), "{}", ended.stdout);
    // Standard output contains nothing but the configuration.
    folder.write("gateway.toml", &ended.stdout);
    let ended = check(
        &folder,
        &format!("{GOOD}require = {{ role = \"a\" }}\n{rule}"),
    );
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
}

/// Replaces the configuration and waits until it is active.
async fn reload(gateway: &Gateway, listen: &str, text: &str) {
    let reloads = count(gateway, "\"reloaded\"");
    let admin = "admin_listen = \"127.0.0.1:0\"";
    let text = format!("listen = \"{listen}\"\n{admin}\n{text}");
    gateway.folder.write("gateway.toml", text);
    gateway.signal("HUP");
    while count(gateway, "\"reloaded\"") <= reloads {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn count(gateway: &Gateway, what: &str) -> usize {
    let lines = gateway.lines();
    lines.iter().filter(|line| line.contains(what)).count()
}

#[tokio::test]
async fn reload_logs_only_new_warnings() {
    let issuer = issuer().await;
    let text = format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"http://127.0.0.1:1\"\nrequire_for = {{ POST = {{ role = \"a\" }} }}\n",
        section(&issuer)
    );
    let gateway = Gateway::start(&text).await;
    let check = |methods, addresses| {
        let methods_logged = count(&gateway, "for all other methods");
        let addresses_logged = count(&gateway, "a changed listen address needs a restart");
        assert_eq!((methods_logged, addresses_logged), (methods, addresses));
    };
    const RUNNING: &str = "127.0.0.1:0";
    check(1, 0);
    reload(&gateway, RUNNING, &format!("{text}# changed")).await;
    check(1, 0);
    reload(&gateway, "127.0.0.1:1", &text).await;
    check(1, 1);
    // The address that is already in use needs no restart.
    reload(&gateway, RUNNING, &text.replace("POST", "PUT")).await;
    check(1, 1);
    let forbidden = text.replace("require_for", "methods = [\"POST\"]\nrequire_for");
    reload(&gateway, RUNNING, &forbidden).await;
    check(1, 1);
    reload(&gateway, RUNNING, &text).await;
    check(2, 1);
}
