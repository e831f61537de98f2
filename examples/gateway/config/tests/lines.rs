//! Errors of every section name their key and line.

use super::Folder;
use super::files::CERTIFICATE;

/// Eleven lines: line 12 is inside the route.
const VALID: &str = r#"listen = "127.0.0.1:0"
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

/// The line to replace (or to append), its replacement, the line of the error, and part of its
/// text.
#[rustfmt::skip]
const INVALID: &[(usize, &str, usize, &str)] = &[
    (1, "listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:1\"", 2, "invalid TOML: duplicate key `listen`"),
    (12, "colour = 1", 12, "`routes[0].colour` is not a key"),
    (12, "[tls]\ncolour = 1", 13, "`tls.colour` is not a key"),
    (9, "colour = 1\n[[routes]]", 9, "`issuers[0].colour` is not a key"),
    (12, "[token_sources]\ncolour = 1", 13, "`token_sources.colour` is not a key"),
    (12, "[token_cache]\ncolour = 1", 13, "`token_cache.colour` is not a key"),
    (12, "[rate_limit_store]\ncolour = 1", 13, "`rate_limit_store.colour` is not a key"),
    (12, "[failed_auth_limit]\nrequests = 1\nper = \"1m\"\ncolour = 1", 15, "`failed_auth_limit.colour` is not a key"),
    (12, "[plans.pro]\nrequests = 1\nper = \"1m\"\ncolour = 1", 15, "`plans.pro.colour` is not a key"),
    (2, "admin_listen = 9090", 2, "`admin_listen`: expected a string in quotes"),
    (12, "[tls]\ncert = \"server.pem\"\nkey = \"text\"", 14, "contains no private key in PEM"),
    (12, "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"lost\"", 15, "`tls.client_ca`: cannot read"),
    (9, "secret_file = \"text\"\n[[routes]]", 9, "`issuers[0].secret_file`: a secret needs at least 32 bytes (HS384: 48, HS512: 64), this one has 4"),
    (11, "upstream = \"https://a\"\nupstream_ca = \"lost\"", 12, "`routes[0].upstream_ca`: cannot read"),
    (9, "max_token_bytes = 0\n[[routes]]", 9, "`issuers[0].max_token_bytes`: must not be zero"),
    (9, "token_types = \"JWT\"\n[[routes]]", 9, "`issuers[0].token_types`: expected a list, [..]"),
    (9, "required_claims = [\"\"]\n[[routes]]", 9, "`issuers[0].required_claims`: must not be empty"),
    (9, "roles_claim = []\n[[routes]]", 9, "`issuers[0].roles_claim`: expected at least one"),
    (9, "permissions_claim = 1\n[[routes]]", 9, "`issuers[0].permissions_claim`: expected a claim's name, or the list of names that lead to it"),
    (9, "[issuers.jwks]\ndefault_ttl = \"0s\"\n[[routes]]", 10, "`issuers[0].jwks.default_ttl`: must not be zero"),
    (9, "[issuers.jwks]\nmin_ttl = \"10ms\"\n[[routes]]", 10, "use at least one second"),
    (9, "[issuers.jwks]\nmax_ttl = \"8d\"\n[[routes]]", 10, "use at most seven days"),
    (9, "[issuers.jwks]\ncooldown = \"10ms\"\n[[routes]]", 10, "use at least one second"),
    (9, "[issuers.jwks]\ntimeout = \"0s\"\n[[routes]]", 10, "`issuers[0].jwks.timeout`: must not be zero"),
    (9, "[issuers.jwks]\nmax_stale = \"8d\"\n[[routes]]", 10, "use at most seven days"),
    (9, "[[issuers]]\nissuer = \"https://id.example.com/\"\naudiences = [\"b\"]\n[[routes]]", 9, "issuer \"https://id.example.com/\" is already defined at gateway.toml:6: merge the two sections"),
    (12, "[token_cache]\nmax_bytes = -1", 13, "`token_cache.max_bytes`: expected a number of bytes, or a size such as \"2MiB\""),
    (12, "[identity_headers]\nx-user-id = 1", 13, "`identity_headers.x-user-id`: expected a claim's name, or the list of names that lead to it"),
    (12, "[identity_headers]\nauthorization = \"sub\"", 13, "`identity_headers.authorization`"),
    (5, "", 3, "`consumers[0].client` or `subject` is required"),
    (12, "timeout = \"0s\"", 12, "`routes[0].timeout`: must not be zero"),
    (12, "require = { any = [{ role = \"a\" }, { scope = \"b c\" }] }", 12, "`routes[0].require`: this is a list of scopes: use { all = [..] } or { any = [..] }"),
    (12, "methods = [\"GET\"]\nrequire_for = { POST = { role = \"a\" } }", 13, "`routes[0].require_for`: POST is not among the `methods` of this route"),
    (12, "[[routes]]\npath = \"/orders\"\nupstream = \"http://a\"", 12, "this route is unreachable: gateway.toml:9 already has \"/orders\" on the same host; use `require_for` there for rules per method"),
];

#[test]
fn errors_name_their_key_and_line() {
    let folder = Folder::new()
        .with("server.pem", CERTIFICATE)
        .with(
            "server.key",
            "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
        )
        .with("text", "text");
    assert!(folder.read(VALID).is_ok());
    for (line, text, at, expected) in INVALID {
        let mut lines: Vec<&str> = VALID.lines().collect();
        match lines.get_mut(line - 1) {
            Some(line) => *line = text,
            None => lines.push(text),
        }
        let text = lines.join("\n");
        let Err(invalid) = folder.read(&text) else {
            panic!("accepted:\n{text}")
        };
        let invalid = invalid.to_string();
        let place = format!("gateway.toml:{at}: ");
        let is_expected = |line: &str| line.starts_with(&place) && line.contains(expected);
        assert!(
            invalid.lines().any(is_expected),
            "{place}{expected}\n{invalid}\nof:\n{text}"
        );
    }
}
