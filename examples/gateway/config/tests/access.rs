//! Access rules, rate limits and propagation of routes.

use super::{ROUTE, accepts, read, refuses};
use crate::config::model::{Access, ConsumerFilter};

#[track_caller]
fn check(lines: &str, problem: &str) {
    refuses(
        &format!("{ROUTE}{lines}\n"),
        &format!("gateway.toml:7: {problem}"),
    );
}

#[test]
fn requirements_round_trip_through_check_output() {
    for (rule, text) in [
        ("{ role = \"a\" }", "role:a"),
        ("{ scope = \"a:b\" }", "scope:a:b"),
        ("{ permission = \"order:*\" }", "permission:order:*"),
        (
            "{ permission_pattern = \"order:*\" }",
            "permission_pattern:order:*",
        ),
        (
            "{ permission_or_wildcard = \"order:read\" }",
            "permission_or_wildcard:order:read",
        ),
        ("{ group = \"staff\" }", "group:staff"),
        (
            "{ issuer = \"https://id.example.com/\" }",
            "issuer:https://id.example.com/",
        ),
        ("{ client = \"acme\" }", "client:acme"),
        ("{ subject = \"alice\" }", "subject:alice"),
        ("{ acr = \"gold\" }", "acr:gold"),
        ("{ max_age = 300 }", "max_age:300"),
        (
            "{ claim = \"tenant\", is = \"acme\" }",
            "claim(tenant is \"acme\")",
        ),
        (
            "{ claim = [\"org\", \"tier\"], contains = 7 }",
            "claim([\"org\",\"tier\"] contains 7)",
        ),
        (
            "{ claim = \"level\", at_least = 3 }",
            "claim(level at_least 3)",
        ),
        (
            "{ claim = \"level\", at_most = -1 }",
            "claim(level at_most -1)",
        ),
        (
            "{ claim = \"a b\", exists = true }",
            "claim(\"a b\" exists)",
        ),
        (
            "{ claim = \"flags\", is = { \"a b\" = [true, \"x\"] } }",
            "claim(flags is {\"a b\":[true,\"x\"]})",
        ),
        (
            "{ not = { any = [{ role = \"a\" }, { all = [{ acr = \"b\" }] }] } }",
            "not(any(role:a, all(acr:b)))",
        ),
    ] {
        let configuration = accepts(&format!("{ROUTE}require = {rule}\n"));
        let rules = configuration.routes[0].access.rules().unwrap();
        assert_eq!(rules.to_string(), text);
        // The output of --check reads back as the same configuration.
        let again = accepts(&configuration.to_string());
        assert_eq!(again.routes[0].access.rules(), Some(rules));
    }
}

#[test]
fn requirement_from_environment_is_word_or_table() {
    for (variable, value, rules) in [
        ("REQUIRE__ROLE", "admin", "role:admin"),
        ("REQUIRE__MAX_AGE", "300", "max_age:300"),
        (
            "REQUIRE",
            "{\"claim\":\"level\",\"at_least\":3}",
            "claim(level at_least 3)",
        ),
        (
            "REQUIRE_FOR__POST__SCOPE",
            "w",
            "POST scope:w; otherwise verified",
        ),
    ] {
        let name = format!("PORTCULLIS__ROUTES__0__{variable}");
        let configuration = read(ROUTE, &[(&name, value)]).unwrap();
        let own = configuration.routes[0].access.rules().unwrap();
        assert_eq!(own.to_string(), rules);
    }
}

#[test]
fn invalid_requirements_are_rejected() {
    const FORMS: &str = "give one form in each table, such as { role = \"..\" }, { any = [..] } or { claim = \"..\", is = .. }";
    const LEAST: &str = "add what the claim must be: is, contains, at_least, at_most or exists";
    #[track_caller]
    fn require(rule: &str, problem: &str) {
        check(
            &format!("require = {rule}"),
            &format!("`routes[0].require`: {problem}"),
        );
    }
    require("\"admin\"", "expected a table, { .. }");
    require("{ any = [\"a\"] }", "expected a table, { .. }");
    require("{ not = [] }", "expected a table, { .. }");
    for rule in [
        "{}",
        "{ role = \"a\", scope = \"b\" }",
        "{ claim = \"a\", is = 1, role = \"b\" }",
    ] {
        require(rule, FORMS);
    }
    require("{ claim = \"a\" }", LEAST);
    require("{ is = \"a\" }", "name the claim: claim = \"..\"");
    require("{ claim = \"\", is = 1 }", "must not be empty");
    require("{ claim = [], is = 1 }", "expected at least one");
    require(
        "{ claim = \"a\", is = 1.5 }",
        "expected a string in quotes, an integer, true or false",
    );
    require("{ max_age = \"1h\" }", "expected an integer");
    require(
        "{ max_age = -1 }",
        "invalid value: integer `-1`, expected u64",
    );
    require("{ claim = \"a\", exists = 1 }", "expected true or false");
    require(
        "{ claim = \"a\", exists = false }",
        "`exists` is always true: put the rule into { not = .. }",
    );
    require(
        "{ all = [] }",
        "an empty list matches no caller: add an element",
    );
    require(
        "{ scope = \"a b\" }",
        "this is a list of scopes: use { all = [..] } or { any = [..] }",
    );
    for name in ["role", "scope", "acr"] {
        require(
            &format!("{{ {name} = [\"a\", \"b\"] }}"),
            &format!(
                "name one: for several use {{ any = [{{ {name} = .. }}, ..] }} or {{ all = [{{ {name} = .. }}, ..] }}"
            ),
        );
    }
    require(
        "{ role = 1 }",
        "invalid type: integer `1`, expected a string",
    );
    refuses(
        &format!("{ROUTE}require = {{ any = [\n{{ role = \"a\" }},\n{{ role = \"\" }}] }}\n"),
        "gateway.toml:9: `routes[0].require`: must not be empty",
    );
    let unknown = format!("{ROUTE}require = {{ not = {{ all = [\n{{ rol = \"a\" }}] }} }}\n");
    let invalid = read(&unknown, &[]).unwrap_err().to_string();
    let start =
        "gateway.toml:8: `routes[0].require`: unknown \"rol\": expected one of role, scope, ";
    assert!(invalid.starts_with(start), "{invalid}");
    check(
        "require_for = { post = { role = \"a\" } }",
        "`routes[0].require_for`: unknown method \"post\"; methods are upper case",
    );
    check(
        "require_for = { POST = { role = \"a\" } }\nmethods = [\"GET\"]",
        "`routes[0].require_for`: POST is not among the `methods` of this route",
    );
}

#[test]
fn public_route_rejects_caller_settings() {
    for key in [
        "require = { role = \"a\" }",
        "require_for = {}",
        "consumers = { deny = [] }",
    ] {
        let name = key.split(' ').next().unwrap();
        check(
            &format!("{key}\npublic = true"),
            &format!(
                "`routes[0].{name}` needs a verified caller, which a public route does not have: remove this key or `public`"
            ),
        );
    }
    check(
        "propagate = \"forward\"\npublic = true",
        "`routes[0].propagate` must be \"none\" on a public route, where no token is verified",
    );
    check(
        "rate_limits = [{ name = \"a\", key = \"subject\", requests = 1, per = \"1s\" }]\npublic = true",
        "`routes[0].rate_limits[0].key` must be \"address\" or \"route\" on a public route, because its callers are not verified",
    );
    let configuration = accepts(&format!("{ROUTE}public = true\n"));
    assert!(matches!(configuration.routes[0].access, Access::Public));
}

#[test]
fn unknown_consumers_of_a_route_are_rejected() {
    check(
        "consumers = { allow = [\"acme\"] }",
        "`routes[0].consumers`: \"acme\" is not defined in [[consumers]]",
    );
    check(
        "consumers = { allow = [] }",
        "`routes[0].consumers`: expected at least one",
    );
    check(
        "consumers = {}",
        "`routes[0].consumers`: give either { allow = [..] } or { deny = [..] }",
    );
    let text = format!(
        "{ROUTE}consumers = {{ deny = [\"a\"] }}\n[[consumers]]\nname = \"a\"\nclient = \"a\"\n"
    );
    let configuration = accepts(&text);
    assert_eq!(
        configuration.routes[0].consumers,
        ConsumerFilter::Deny(vec!["a".to_owned()])
    );
}

#[test]
fn limits_of_a_route() {
    #[track_caller]
    fn limit(limit: &str, problem: &str) {
        check(&format!("rate_limits = [{limit}]"), problem);
    }
    limit(
        "{ key = \"subject\", requests = 1, per = \"1s\" }",
        "`routes[0].rate_limits[0].name` is required",
    );
    limit(
        "{ name = \"a b\", key = \"subject\", requests = 1, per = \"1s\" }",
        "`routes[0].rate_limits[0].name`: use 1 to 64 ASCII letters, digits, `-`, `_`, `.`, `:` and `/`",
    );
    limit(
        "{ name = \"a\", key = \"ip\", requests = 1, per = \"1s\" }",
        "`routes[0].rate_limits[0].key`: unknown value \"ip\", expected one of subject, client, address, route, or { claim = [..] }",
    );
    for key in ["address", "route"] {
        limit(
            &format!("{{ name = \"a\", key = \"{key}\", plan = true }}"),
            "`routes[0].rate_limits[0].plan` needs a consumer, which this key does not identify: use \"client\" or \"subject\"",
        );
    }
    for key in [
        "{ header = \"x-tenant\" }",
        "{}",
        "{ claim = \"a\", b = 1 }",
    ] {
        limit(
            &format!("{{ name = \"a\", key = {key}, plan = true }}"),
            "`routes[0].rate_limits[0].key`: expected subject, client, address, route, or { claim = [..] }",
        );
    }
    limit(
        "{ name = \"a\", key = { claim = [] }, plan = true }",
        "`routes[0].rate_limits[0].key`: expected at least one",
    );
    limit(
        "{ name = \"a\", key = \"client\", plan = true, requests = 1 }",
        "`routes[0].rate_limits[0].per` is required",
    );
    limit(
        "{ name = \"a\", key = \"client\", plan = true }, { name = \"a\", key = \"subject\", plan = true }",
        "two limits of this route are named \"a\": clients could not distinguish them",
    );
    limit(
        "{ name = \"a\", key = \"client\", requests = 1, per = \"0s\" }",
        "`routes[0].rate_limits[0].per`: must not be zero",
    );
}

#[test]
fn minted_tokens_are_not_supported_yet() {
    for mode in ["mint", "exchange"] {
        check(
            &format!("propagate = \"{mode}\""),
            &format!(
                "`routes[0].propagate`: \"{mode}\" is not supported yet: use \"none\" or \"forward\""
            ),
        );
    }
    check(
        "propagate = \"all\"",
        "`routes[0].propagate`: unknown value \"all\", expected one of none, forward",
    );
    check(
        "mode = \"dry\"",
        "`routes[0].mode`: unknown value \"dry\", expected one of enforce, report",
    );
}
