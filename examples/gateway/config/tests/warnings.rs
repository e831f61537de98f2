//! Warnings for valid but suspicious settings.

use super::{ROUTE, accepts};

#[track_caller]
fn warns(text: &str, expected: &[&str]) {
    let warnings: Vec<String> = accepts(text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(warnings, expected, "of:\n{text}");
}

#[test]
fn warns_of_methods_without_rule() {
    const OTHERS: &str = "gateway.toml:7: `routes[0].require_for` admits any verified caller for all other methods: add `require`, or restrict `methods`";
    const TWO: &str = "require_for = { GET = { role = \"a\" }, DELETE = { role = \"b\" } }";
    const ONE: &str = "require_for = { GET = { role = \"a\" } }";
    for (rules, more, expected) in [
        (ONE, "", &[OTHERS][..]),
        (TWO, "", &[OTHERS]),
        (ONE, "methods = [\"GET\", \"POST\"]", &[OTHERS]),
        (TWO, "consumers = { deny = [\"acme\"] }", &[OTHERS]),
        (TWO, "require = { role = \"c\" }", &[]),
        (ONE, "methods = [\"GET\"]", &[]),
        (TWO, "methods = [\"GET\", \"HEAD\", \"DELETE\"]", &[]),
    ] {
        let acme = "[[consumers]]\nname = \"acme\"\nclient = \"acme\"";
        warns(&format!("{ROUTE}{rules}\n{more}\n{acme}\n"), expected);
    }
    for nothing in ["", "require_for = {}\n"] {
        warns(&format!("{ROUTE}{nothing}"), &[]);
    }
    let shown = accepts(&format!("{ROUTE}{TWO}\n")).to_string();
    let effective = "# require: any verified caller\nrequire_for = ";
    assert!(shown.contains(effective), "{shown}");
}

#[test]
fn warns_of_callers_without_plan() {
    const OTHERS: &str = "gateway.toml:7: `routes[0].rate_limits[0].plan` does not limit callers without a plan: add `requests` and `per`";
    const NOBODY: &str = "gateway.toml:7: `routes[0].rate_limits[0].plan` has no effect: no consumer that may use this route has a plan. Add `requests` and `per`";
    let text = |limit: &str, filter: &str| {
        format!(
            "{ROUTE}rate_limits = [{{ name = \"p\", key = \"client\", plan = true{limit} }}]\n{filter}\n"
        )
    };
    const CONSUMERS: &str = "[plans.pro]\nrequests = 1\nper = \"1m\"\n[[consumers]]\nname = \"acme\"\nclient = \"acme\"\nplan = \"pro\"\n[[consumers]]\nname = \"free\"\nclient = \"free\"\n";
    warns(&text("", ""), &[NOBODY]);
    for (filter, expected) in [
        ("", &[OTHERS][..]),
        ("consumers = { deny = [\"free\"] }", &[OTHERS]),
        ("consumers = { deny = [\"acme\"] }", &[NOBODY]),
        ("consumers = { allow = [\"acme\", \"free\"] }", &[OTHERS]),
        ("consumers = { allow = [\"free\"] }", &[NOBODY]),
        ("consumers = { allow = [\"acme\"] }", &[]),
    ] {
        warns(&format!("{}{CONSUMERS}", text("", filter)), expected);
        let others = text(", requests = 1, per = \"1h\"", filter);
        warns(&format!("{others}{CONSUMERS}"), &[]);
    }
    let shown = accepts(&text(", requests = 5, per = \"1h\", burst = 2", "")).to_string();
    let limit = "key = \"client\", plan = true, requests = 5, per = \"3600s\", burst = 2 }]";
    assert!(shown.contains(limit), "{shown}");
}

#[test]
fn warns_of_public_admin_listener() {
    const OPEN: &str = "gateway.toml:1: `admin_listen` is reachable from all networks, and";
    for address in ["0.0.0.0:9090", "[::]:9090"] {
        let text = format!("admin_listen = \"{address}\"\n");
        warns(
            &text,
            &[&format!("{OPEN} exposes the configuration and metrics")],
        );
        let revocation = format!("{text}[revocation]\n");
        warns(
            &revocation,
            &[&format!("{OPEN} allows clients to revoke tokens")],
        );
    }
    for address in ["127.0.0.1:9090", "[::1]:9090", "10.0.0.1:9090"] {
        warns(&format!("admin_listen = \"{address}\"\n"), &[]);
    }
}

#[test]
fn warns_of_store_without_secret() {
    let text = "[rate_limit_store]\nkind = \"redis\"\n";
    const OPEN: &str = "gateway.toml:1: `rate_limit_store.secret` is missing: anyone who can read the server can identify the counted callers";
    warns(text, &[OPEN]);
    warns(&text.replace("redis", "memory"), &[]);
    warns(&format!("{text}secret = \"a-secret-of-16-by\"\n"), &[]);
}

#[test]
fn warns_of_unencrypted_propagation() {
    const CLEAR: &str =
        "gateway.toml:7: `routes[0].propagate` sends tokens without encryption: use https";
    let text = |upstream: &str, mode: &str| {
        let route = ROUTE.replace("http://127.0.0.1:3002", upstream);
        format!("{route}propagate = \"{mode}\"\n")
    };
    warns(&text("http://orders.internal:3002", "forward"), &[CLEAR]);
    warns(&text("http://orders.internal:3002", "none"), &[]);
    warns(&text("https://orders.internal", "forward"), &[]);
}

#[test]
fn sample_has_no_warnings() {
    warns(include_str!("../../gateway.toml"), &[]);
}
