//! Paths, hosts, methods and upstreams of routes.

use super::{ROUTE, accepts, refuses};

#[track_caller]
fn check(lines: &str, problem: &str) {
    refuses(
        &format!("{ROUTE}{lines}\n"),
        &format!("gateway.toml:7: {problem}"),
    );
}

#[test]
fn route_requires_path_and_upstream() {
    refuses(
        "[[routes]]\npublic = true\n",
        "gateway.toml:1: `routes[0].path` is required\ngateway.toml:1: `routes[0].upstream` is required",
    );
}

#[test]
fn unreachable_path_spellings_are_rejected() {
    #[track_caller]
    fn check(path: &str, problem: &str) {
        let text = ROUTE.replace("/orders", path);
        refuses(
            &text,
            &format!("gateway.toml:5: `routes[0].path`: {path:?} {problem}"),
        );
    }
    const SLASH: &str = "must start with `/`";
    const EMPTY: &str = "has an empty segment: remove the double or trailing slash (a route includes everything below its path)";
    const DOTS: &str = "contains a dot segment: such requests are rejected";
    const CODED: &str =
        "contains an encoded slash, backslash or zero byte: such requests are rejected";
    const CHARACTERS: &str = "contains characters that are not allowed: write letters, digits and -._~!$&'()+,=@ as they are, : inside a segment too, and other bytes as %20";
    check("", SLASH);
    check("orders", SLASH);
    check("http://a/", SLASH);
    for path in ["//", "/a//b", "/a/"] {
        check(path, EMPTY);
    }
    for path in ["/.", "/a/../b", "/%2E%2E", "/a/..;v=1"] {
        check(path, DOTS);
    }
    for path in ["/a%2Fb", "/a%5Cb", "/%00"] {
        check(path, CODED);
    }
    for path in [
        "/a b", "/a?b", "/a#b", "/{a}b", "/ä", "/%", "/%2f", "/%zz", "/%41", "/a|b",
    ] {
        check(path, CHARACTERS);
    }
    check(
        "/healthz",
        "is served by the gateway itself, so this route is unreachable",
    );
    for path in [
        "/",
        "/a",
        "/a/b.c",
        "/a:b@c,d=1",
        "/%20",
        "/%C3%A4",
        "/healthz/deep",
        "/...",
    ] {
        accepts(&ROUTE.replace("/orders", path));
    }
}

/// Taken literally, such a route would leave its requests to a wider route, which may be public.
#[test]
fn wildcards_and_parameters_are_rejected() {
    for (path, segment, above, own) in [
        ("/adm/*", "*", "/adm", "%2A"),
        ("/adm/**", "**", "/adm", "%2A%2A"),
        ("/adm/*.json", "*.json", "/adm", "%2A.json"),
        ("/*", "*", "/", "%2A"),
        ("/adm*", "adm*", "/", "adm%2A"),
        ("/*path", "*path", "/", "%2Apath"),
        ("/users/:id", ":id", "/users", "%3Aid"),
        ("/users/:id/orders", ":id", "/users", "%3Aid"),
        ("/a:id/:id", ":id", "/a:id", "%3Aid"),
        ("/:a*", ":a*", "/", "%3Aa%2A"),
        ("/users/{id}", "{id}", "/users", ""),
        ("/users/{*rest}", "{*rest}", "/users", ""),
        ("/users/<id>", "<id>", "/users", ""),
        ("/users/[id]", "[id]", "/users", ""),
    ] {
        let own = match own {
            "" => String::new(),
            own => format!("; write {own:?} for the literal name"),
        };
        refuses(
            &ROUTE.replace("/orders", path),
            &format!(
                "gateway.toml:5: `routes[0].path`: {path:?}: {segment:?} is not a wildcard or parameter, because routes have none: write {above:?}, which includes everything below it{own}"
            ),
        );
    }
    for path in ["/adm/%2A", "/users/%3Aid", "/v1/orders:batch"] {
        accepts(&ROUTE.replace("/orders", path));
    }
}

#[test]
fn duplicate_route_is_rejected() {
    #[track_caller]
    fn check(first: &str, second: &str, is_accepted: bool) {
        let second = format!("[[routes]]\npath = \"/orders\"\nupstream = \"http://a\"\n{second}\n");
        let text = format!("{ROUTE}{first}\n{second}");
        if is_accepted {
            accepts(&text);
            return;
        }
        refuses(
            &text,
            "gateway.toml:8: this route is unreachable: gateway.toml:4 already has \"/orders\" on the same host; use `require_for` there for rules per method",
        );
    }
    check("", "", false);
    // A method that the route does not allow is 405; no other route is tried.
    check("methods = [\"POST\"]", "methods = [\"GET\"]", false);
    check("", "methods = [\"QUERY\"]", false);
    check("host = \"a.b\"", "", true);
    check("host = \"a.b\"", "host = \"a.c\"", true);
    check("host = \"a.b\"", "host = \"A.B\"", false);
}

#[test]
fn ambiguous_route_path_is_rejected() {
    #[track_caller]
    fn check(route: &str, line: usize, path: &str) {
        let text = ROUTE.replace("/orders", path) + route;
        let path = if line == 7 { "/ORDERS" } else { path };
        refuses(
            &text,
            &format!(
                "gateway.toml:{line}: this route is unreachable: some servers read {path:?} as a different path (case, `;` or escapes), and such requests are rejected"
            ),
        );
    }
    check("", 4, "/orders;v=1");
    check("", 4, "/orders/x%3By");
    check("", 4, "/%FF");
    let upper = "[[routes]]\npath = \"/ORDERS\"\nupstream = \"http://a\"\n";
    check(upper, 7, "/orders");
    let shop = upper.replace("[[routes]]", "[[routes]]\nhost = \"shop.example\"");
    accepts(&format!("{ROUTE}{shop}"));
}

#[test]
fn hosts_methods_and_upstreams() {
    for host in ["", "a:80", "*.a", "http://a", "a/b", "ä"] {
        check(
            &format!("host = {host:?}"),
            &format!(
                "`routes[0].host`: {host:?} is not a host: give a name without scheme, port or wildcard, such as \"api.example.com\""
            ),
        );
    }
    for method in ["get", "GTE", "CONNECT", "PRI", ""] {
        check(
            &format!("methods = [{method:?}]"),
            &format!("`routes[0].methods`: unknown method {method:?}; methods are upper case"),
        );
    }
    check("methods = []", "`routes[0].methods`: expected at least one");
    check(
        "methods = \"GET\"",
        "`routes[0].methods`: expected a list, [..]",
    );
    accepts(&format!(
        "{ROUTE}methods = [\"QUERY\", \"PROPFIND\"]\nhost = \"[::1]\"\n"
    ));
    #[track_caller]
    fn upstream(url: &str, problem: &str) {
        let text = ROUTE.replace("http://127.0.0.1:3002", url);
        refuses(
            &text,
            &format!("gateway.toml:6: `routes[0].upstream`: {problem}"),
        );
    }
    upstream(
        "ftp://a",
        "give a URL with http or https, such as \"http://127.0.0.1:3002\"",
    );
    upstream(
        "127.0.0.1",
        "give a URL with http or https, such as \"http://127.0.0.1:3002\"",
    );
    upstream(
        "http://",
        "not a URL: give one such as \"http://127.0.0.1:3002\"",
    );
    upstream(
        "http://me:secret@a",
        "remove the user and password from the URL",
    );
    for url in ["http://a/b", "http://a?b", "http://a#b"] {
        upstream(
            url,
            "remove the path: the path of the request is forwarded unchanged",
        );
    }
    check(
        "upstreams = [\"http://a\"]",
        "`routes[0].upstreams` is not supported yet: give one service in `upstream`",
    );
    check(
        "upstream_host = \"both\"",
        "`routes[0].upstream_host`: unknown value \"both\", expected one of upstream, client",
    );
}
