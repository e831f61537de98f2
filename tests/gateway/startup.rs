//! What is said before anything is served: all that is wrong, or what is in force.

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

/// What is put in place of a line of the good configuration, or after its last, and what is said of which line.
const WRONG: &[(usize, &str, usize, &str)] = &[
    // No configuration at all.
    (1, "listen = 127.0.0.1", 1, "this is no TOML"),
    (
        1,
        "listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:1\"",
        2,
        "duplicate key",
    ),
    // Unknown keys, wherever they are.
    (1, "colour = 1", 1, "`colour` is no key"),
    (12, "colour = 1", 12, "`routes[0].colour` is no key"),
    (12, "[tls]\ncolour = 1", 13, "`tls.colour` is no key"),
    (
        9,
        "colour = 1\n[[routes]]",
        9,
        "`issuers[0].colour` is no key",
    ),
    (
        9,
        "[issuers.jwks]\ncolour = 1\n[[routes]]",
        10,
        "`issuers[0].jwks.colour` is no key",
    ),
    (
        12,
        "[token_sources]\ncolour = 1",
        13,
        "`token_sources.colour` is no key",
    ),
    (
        12,
        "[token_cache]\ncolour = 1",
        13,
        "`token_cache.colour` is no key",
    ),
    (
        12,
        "[rate_limit_store]\ncolour = 1",
        13,
        "`rate_limit_store.colour` is no key",
    ),
    (
        12,
        "[failed_auth_limit]\nrequests = 1\nper = \"1m\"\ncolour = 1",
        15,
        "`failed_auth_limit.colour` is no key",
    ),
    (
        12,
        "[revocation]\ncolour = 1",
        13,
        "`revocation.colour` is no key",
    ),
    (
        12,
        "[plans.pro]\nrequests = 1\nper = \"1m\"\ncolour = 1",
        15,
        "`plans.pro.colour` is no key",
    ),
    (
        5,
        "client = \"acme-app\"\ncolour = 1",
        6,
        "`consumers[0].colour` is no key",
    ),
    // The gateway itself.
    (1, "listen = \"here\"", 1, "no address and port"),
    (2, "admin_listen = 9090", 2, "give a string"),
    (1, "trusted_proxies = [\"10.0.0.0/33\"]", 1, "no network"),
    (1, "realm = 'a\"b'", 1, "printable ASCII"),
    (1, "request_timeout = \"30\"", 1, "no duration"),
    (1, "max_body = \"many\"", 1, "number of bytes"),
    (1, "log = \"loud\"", 1, "no level"),
    (1, "cors_preflight = \"allow\"", 1, "choose one of"),
    // Files.
    (
        12,
        "[tls]\ncert = \"lost.pem\"\nkey = \"server.key\"",
        13,
        "lost.pem cannot be read",
    ),
    (
        12,
        "[tls]\ncert = \"text\"\nkey = \"server.key\"",
        13,
        "no certificate in PEM",
    ),
    (
        12,
        "[tls]\ncert = \"server.pem\"\nkey = \"text\"",
        14,
        "no private key in PEM",
    ),
    (
        12,
        "[tls]\ncert = \"server.pem\"",
        12,
        "`tls.key` is required",
    ),
    (
        12,
        "[tls]\ncert = \"server.pem\"\nkey = \"other.key\"",
        12,
        "TLS cannot be used",
    ),
    (
        12,
        "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"lost\"",
        15,
        "cannot be read",
    ),
    (
        9,
        "jwks_file = \"lost.json\"\n[[routes]]",
        9,
        "lost.json cannot be read",
    ),
    (
        9,
        "jwks_file = \"text\"\n[[routes]]",
        9,
        "`issuers[0].jwks_file`",
    ),
    (
        9,
        "public_key_file = \"text\"\n[[routes]]",
        9,
        "`issuers[0].public_key_file`",
    ),
    (
        9,
        "secret_file = \"text\"\n[[routes]]",
        9,
        "32 bytes or more",
    ),
    (9, "ca = \"text\"\n[[routes]]", 9, "no certificate in PEM"),
    (
        11,
        "upstream = \"https://a\"\nupstream_ca = \"lost\"",
        12,
        "cannot be read",
    ),
    // Issuers.
    (7, "", 6, "`issuers[0].issuer` is required"),
    (7, "issuer = \"http://id.example.com/\"", 7, "use https"),
    (8, "", 6, "`issuers[0].audiences` is required"),
    (8, "audiences = []", 8, "name at least one"),
    (
        9,
        "jwks_uri = \"http://id.example.com/keys\"\n[[routes]]",
        9,
        "use https",
    ),
    (9, "secret = \"short\"\n[[routes]]", 9, "32 bytes or more"),
    (9, "secret_base64 = \"!\"\n[[routes]]", 9, "no base64"),
    (9, "algorithms = [\"none\"]\n[[routes]]", 9, "no algorithm"),
    (
        9,
        "algorithms = [\"HS256\"]\n[[routes]]",
        9,
        "needs a `secret`",
    ),
    (9, "leeway = \"11m\"\n[[routes]]", 9, "at most 10 minutes"),
    (9, "max_token_bytes = 0\n[[routes]]", 9, "no room"),
    (9, "token_types = \"JWT\"\n[[routes]]", 9, "give a list"),
    (
        9,
        "required_claims = [\"\"]\n[[routes]]",
        9,
        "must not be empty",
    ),
    (9, "profile = \"okto\"\n[[routes]]", 9, "choose one of"),
    (
        9,
        "subject_claim = \"aud\"\n[[routes]]",
        9,
        "a meaning of its own",
    ),
    (9, "roles_claim = []\n[[routes]]", 9, "at least one"),
    (9, "permissions_claim = 1\n[[routes]]", 9, "a claim's name"),
    (
        9,
        "[issuers.jwks]\ndefault_ttl = \"0s\"\n[[routes]]",
        10,
        "zero",
    ),
    (
        9,
        "[issuers.jwks]\nmin_ttl = \"2h\"\n[[routes]]",
        10,
        "longer than `max_ttl`",
    ),
    (
        9,
        "[issuers.jwks]\nmin_ttl = \"10ms\"\n[[routes]]",
        10,
        "a second or more",
    ),
    (
        9,
        "[issuers.jwks]\nmax_ttl = \"8d\"\n[[routes]]",
        10,
        "seven days or less",
    ),
    (
        9,
        "[issuers.jwks]\ncooldown = \"10ms\"\n[[routes]]",
        10,
        "a second or more",
    ),
    (
        9,
        "[issuers.jwks]\ntimeout = \"0s\"\n[[routes]]",
        10,
        "zero",
    ),
    (
        9,
        "[issuers.jwks]\nmax_stale = \"8d\"\n[[routes]]",
        10,
        "seven days or less",
    ),
    (
        9,
        "[[issuers]]\nissuer = \"https://id.example.com/\"\naudiences = [\"b\"]\n[[routes]]",
        9,
        "merge the two",
    ),
    // Callers.
    (
        12,
        "[token_sources]\ncookie = \"a b\"",
        13,
        "no name for a cookie",
    ),
    (
        12,
        "[token_sources]\nwebsocket_protocol = 1",
        13,
        "true or false",
    ),
    (12, "[token_cache]\nmax_bytes = -1", 13, "number of bytes"),
    (
        12,
        "[identity_headers]\nx-user-id = 1",
        13,
        "a claim's name",
    ),
    (
        12,
        "[identity_headers]\nauthorization = \"sub\"",
        13,
        "`identity_headers.authorization`",
    ),
    (4, "name = \"a,b\"", 4, "comma"),
    (5, "", 3, "`consumers[0].client` or `subject` is required"),
    (5, "client = \"a\"\nplan = \"pro\"", 6, "not in [plans]"),
    // Limits.
    (
        12,
        "[plans.pro]\nrequests = 0\nper = \"1m\"",
        13,
        "between 1 and",
    ),
    (
        12,
        "[rate_limit_store]\nkind = \"disk\"",
        13,
        "choose one of",
    ),
    (
        12,
        "[failed_auth_limit]\nrequests = 20",
        12,
        "`failed_auth_limit.per` is required",
    ),
    (
        12,
        "rate_limits = [{ name = \"a b\", key = \"subject\", requests = 1, per = \"1m\" }]",
        12,
        "`routes[0].rate_limits[0].name`",
    ),
    (
        12,
        "rate_limits = [{ name = \"a\", key = \"user\", requests = 1, per = \"1m\" }]",
        12,
        "choose one of",
    ),
    (2, "[revocation]", 2, "there is none"),
    // Routes.
    (10, "", 9, "`routes[0].path` is required"),
    (10, "path = \"orders\"", 10, "must start with a slash"),
    (10, "path = \"/orders/../x\"", 10, "segment of dots"),
    (
        10,
        "path = \"/healthz\"",
        10,
        "nothing can reach this route",
    ),
    (11, "", 9, "`routes[0].upstream` is required"),
    (11, "upstream = \"http://a/below\"", 11, "the origin alone"),
    (12, "host = \"*.example.com\"", 12, "no host"),
    (12, "methods = [\"get\"]", 12, "no method"),
    (12, "timeout = \"0s\"", 12, "no time"),
    (12, "upstream_ca = \"server.pem\"", 12, "for https alone"),
    (12, "upstream_host = \"both\"", 12, "choose one of"),
    (
        12,
        "require = { user = \"a\" }",
        12,
        "there is no \"user\": use role, scope",
    ),
    (
        12,
        "require = { any = [{ role = \"a\" }, { scope = \"b c\" }] }",
        12,
        "more than one scope",
    ),
    (
        12,
        "methods = [\"GET\"]\nrequire_for = { POST = { role = \"a\" } }",
        13,
        "not among the `methods`",
    ),
    (
        12,
        "consumers = { allow = [\"nobody\"] }",
        12,
        "not among [[consumers]]",
    ),
    (
        12,
        "public = true\nrequire = { role = \"a\" }",
        13,
        "a public route does not know",
    ),
    (
        12,
        "public = true\npropagate = \"forward\"",
        13,
        "must be \"none\"",
    ),
    (12, "mode = \"off\"", 12, "choose one of"),
    (
        12,
        "[[routes]]\npath = \"/orders\"\nupstream = \"http://a\"",
        12,
        "nothing can reach this route",
    ),
    (
        12,
        "[[routes]]\npath = \"/Orders\"\nupstream = \"http://a\"",
        12,
        "nothing can reach this route",
    ),
    (
        12,
        "[rate_limit_store]\nkind = \"redis\"\nurl = \"http://a\"",
        14,
        "use redis://host:port/database",
    ),
    (
        12,
        "[rate_limit_store]\nsecret = \"short\"",
        13,
        "16 bytes or more",
    ),
    // What is not there yet.
    (
        12,
        "[revocation]\nkind = \"redis\"",
        13,
        "not supported yet",
    ),
    (
        12,
        "[mint]\nissuer = \"https://a/\"",
        12,
        "not supported yet",
    ),
    (12, "[exchange]\nclient_id = \"a\"", 12, "not supported yet"),
    (
        12,
        "propagate = \"mint\"\naudience = \"a\"",
        12,
        "not supported yet",
    ),
    (12, "propagate = \"exchange\"", 12, "not supported yet"),
    (
        12,
        "upstreams = [\"http://a\", \"http://b\"]",
        12,
        "not supported yet",
    ),
];

#[test]
fn everything_that_is_wrong_is_told_with_its_line() {
    let authority = Authority::new();
    let (pair, other) = (authority.issue(), authority.issue());
    let folder = Folder::new();
    folder.write("server.pem", &pair.certificate);
    folder.write("server.key", &pair.key);
    folder.write("other.key", &other.key);
    folder.write("text", "text");
    assert_eq!(check(&folder, GOOD).code, Some(0));
    for (line, text, at, told) in WRONG {
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
        let is_told = |said: &str| said.contains(&place) && said.contains(told);
        assert!(
            stderr.lines().any(is_told),
            "{place}{told}\n{stderr}\nof:\n{wrong}"
        );
    }
}

#[test]
fn what_is_wrong_serves_nothing_without_check_too() {
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
            .contains("nowhere/gateway.toml: the file cannot be read"),
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
            ended.stderr.contains(&format!("`{key}`: {address}")),
            "{}",
            ended.stderr
        );
    }
}

/// What `--check` prints is a configuration that says the same, without what is secret.
#[test]
fn what_is_in_force_is_shown_without_secrets() {
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
        let stands = shown.stdout.lines().any(|shown| shown == line);
        assert!(stands, "{line} in {}", shown.stdout);
    }
    assert!(
        !shown.stdout.contains("redis"),
        "nothing asks it: {}",
        shown.stdout
    );
    let again = check(&folder, &shown.stdout.replace("(redacted)", SECRET));
    assert_eq!(again.stdout, shown.stdout, "{}", again.stderr);
    // The sample as it is.
    let sample = fs::read_to_string("examples/gateway/gateway.toml").unwrap();
    let shown = check(&folder, &sample);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
}

#[tokio::test]
async fn the_environment_wins_over_the_file_and_after_a_reload_too() {
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
            gateway.said(|line| line.contains("\"reloaded\"")).await;
        }
        let answer = client().get(gateway.url("/")).send().await.unwrap();
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert_eq!(challenge, "Bearer realm=\"variable\"");
        let token = issuer.token("alice").claim("tenant", "t-1");
        let get = |token: String| client().get(gateway.url("/")).bearer_auth(token);
        assert_eq!(outcome(get(token.clone().sign())).await.0, 403);
        let answer = get(token.role("admin").sign()).send().await.unwrap();
        let told = super::upstream::told(answer).await.unwrap();
        assert_eq!(told["service"], "variable");
        assert_eq!(super::upstream::header(&told, "x-user-id"), Some("t-1"));
        let posted = client().post(gateway.url("/"));
        assert_eq!(outcome(posted).await.0, 405);
        // The second issuer is the environment's alone.
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
fn a_variable_that_will_not_do_is_named() {
    let folder = Folder::new();
    folder.write("gateway.toml", GOOD);
    let file = folder.0.join("gateway.toml");
    for (name, value, told) in [
        (
            "PORTCULLIS__LISTEN",
            "here",
            "`listen`: \"here\" is no address",
        ),
        ("PORTCULLIS__COLOUR", "1", "`colour` is no key"),
        (
            "PORTCULLIS__ROUTES__7__PATH",
            "/",
            "there is none to be number 7",
        ),
        ("PORTCULLIS__ROUTES__0__METHODS", "GET", "give a list"),
    ] {
        let arguments = ["--config", file.to_str().unwrap(), "--check"];
        let variables = [(name.to_owned(), value.to_owned())];
        let ended = Running::start_with("gateway", &arguments, &variables).end();
        assert_eq!(ended.code, Some(1));
        let said = ended.stderr.contains(&format!("{name}: ")) && ended.stderr.contains(told);
        assert!(said, "{name}: {}", ended.stderr);
    }
}

#[test]
fn what_is_hardly_meant_is_said_with_its_line_and_refused_by_nobody() {
    let folder = Folder::new();
    let rule = "require_for = { POST = { role = \"admin\" } }\n";
    let ended = check(&folder, &format!("{GOOD}{rule}"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let line = ":12: `routes[0].require_for` leaves all other methods to any verified caller";
    assert!(ended.stderr.starts_with("warning: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(line), "{}", ended.stderr);
    let shown = "# require: any verified caller";
    assert!(ended.stdout.contains(shown), "{}", ended.stdout);
    // Nothing but the configuration is on standard output.
    folder.write("gateway.toml", &ended.stdout);
    let ended = check(
        &folder,
        &format!("{GOOD}require = {{ role = \"a\" }}\n{rule}"),
    );
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
}

/// Writes the configuration anew, and waits until it is in force.
async fn reload(gateway: &Gateway, listen: &str, text: &str) {
    let reloads = told(gateway, "\"reloaded\"");
    let admin = "admin_listen = \"127.0.0.1:0\"";
    let text = format!("listen = \"{listen}\"\n{admin}\n{text}");
    gateway.folder.write("gateway.toml", text);
    gateway.signal("HUP");
    while told(gateway, "\"reloaded\"") <= reloads {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn told(gateway: &Gateway, what: &str) -> usize {
    let lines = gateway.lines();
    lines.iter().filter(|line| line.contains(what)).count()
}

#[tokio::test]
async fn a_reload_tells_what_is_new_and_nothing_twice() {
    let issuer = issuer().await;
    let text = format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"http://127.0.0.1:1\"\nrequire_for = {{ POST = {{ role = \"a\" }} }}\n",
        section(&issuer)
    );
    let gateway = Gateway::start(&text).await;
    let check = |methods, addresses| {
        let methods_told = told(&gateway, "leaves all other methods");
        let addresses_told = told(&gateway, "another address to listen on needs a restart");
        assert_eq!((methods_told, addresses_told), (methods, addresses));
    };
    const RUNNING: &str = "127.0.0.1:0";
    check(1, 0);
    reload(&gateway, RUNNING, &format!("{text}# changed")).await;
    check(1, 0);
    reload(&gateway, "127.0.0.1:1", &text).await;
    check(1, 1);
    // The one that it has needs no restart.
    reload(&gateway, RUNNING, &text.replace("POST", "PUT")).await;
    check(1, 1);
    let forbidden = text.replace("require_for", "methods = [\"POST\"]\nrequire_for");
    reload(&gateway, RUNNING, &forbidden).await;
    check(1, 1);
    reload(&gateway, RUNNING, &text).await;
    check(2, 1);
}
