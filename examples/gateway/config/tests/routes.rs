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
fn a_route_needs_a_path_and_an_upstream() {
    refuses(
        "[[routes]]\npublic = true\n",
        "gateway.toml:1: `routes[0].path` is required\ngateway.toml:1: `routes[0].upstream` is required",
    );
}

#[test]
fn a_path_is_one_that_requests_can_have() {
    #[track_caller]
    fn check(path: &str, problem: &str) {
        let text = ROUTE.replace("/orders", path);
        refuses(
            &text,
            &format!("gateway.toml:5: `routes[0].path`: {path:?} {problem}"),
        );
    }
    const SLASH: &str = "must start with a slash";
    const EMPTY: &str = "has an empty segment: remove the double slash, or the slash at the end; what is below a path belongs to it anyway";
    const DOTS: &str = "has a segment of dots, and such requests are refused";
    const CODED: &str = "has an encoded slash, backslash or zero, and such requests are refused";
    const CHARACTERS: &str = "holds what no path may: write letters, digits and -._~!$&'()+,=@ as they are, : inside a segment too, other bytes as %20";
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
        "is answered by the gateway itself: nothing can reach this route",
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

/// As a literal it would leave the requests it was meant for to a wider route, which may be public.
#[test]
fn a_wildcard_or_a_parameter_is_an_error_that_says_what_to_write() {
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
            own => format!("; {own:?} is the name itself"),
        };
        refuses(
            &ROUTE.replace("/orders", path),
            &format!(
                "gateway.toml:5: `routes[0].path`: {path:?}: {segment:?} is no wildcard and no parameter, there are none: write {above:?}, what is below it belongs to it{own}"
            ),
        );
    }
    for path in ["/adm/%2A", "/users/%3Aid", "/v1/orders:batch"] {
        accepts(&ROUTE.replace("/orders", path));
    }
}

#[test]
fn a_second_route_for_one_path_and_host_is_an_error() {
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
            "gateway.toml:8: nothing can reach this route: gateway.toml:4 has \"/orders\" on the same host already; for rules by method use `require_for` there",
        );
    }
    check("", "", false);
    // A method that a route does not have is 405, and no other route's.
    check("methods = [\"POST\"]", "methods = [\"GET\"]", false);
    check("", "methods = [\"QUERY\"]", false);
    check("host = \"a.b\"", "", true);
    check("host = \"a.b\"", "host = \"a.c\"", true);
    check("host = \"a.b\"", "host = \"A.B\"", false);
}

#[test]
fn a_path_that_would_be_taken_for_another_is_an_error() {
    #[track_caller]
    fn check(route: &str, line: usize, path: &str) {
        let text = ROUTE.replace("/orders", path) + route;
        let path = if line == 7 { "/ORDERS" } else { path };
        refuses(
            &text,
            &format!(
                "gateway.toml:{line}: nothing can reach this route: some servers would take {path:?} for another path, by case, by `;` or by what is escaped, and such requests are refused"
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
                "`routes[0].host`: {host:?} is no host: give one name without scheme, port and wildcard, such as \"api.example.com\""
            ),
        );
    }
    for method in ["get", "GTE", "CONNECT", "PRI", ""] {
        check(
            &format!("methods = [{method:?}]"),
            &format!(
                "`routes[0].methods`: there is no method {method:?} that a route could match; methods are in capitals"
            ),
        );
    }
    check("methods = []", "`routes[0].methods`: name at least one");
    check(
        "methods = \"GET\"",
        "`routes[0].methods`: give a list, [..]",
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
        "this is no URL, such as \"http://127.0.0.1:3002\"",
    );
    upstream(
        "http://me:secret@a",
        "the host must stand alone: no user, no password",
    );
    for url in ["http://a/b", "http://a?b", "http://a#b"] {
        upstream(
            url,
            "give the origin alone: paths are passed on as they are",
        );
    }
    check(
        "upstreams = [\"http://a\"]",
        "`routes[0].upstreams` is not supported yet: name one service with `upstream`",
    );
    check(
        "upstream_host = \"both\"",
        "`routes[0].upstream_host`: there is no \"both\": choose one of upstream, client",
    );
}
