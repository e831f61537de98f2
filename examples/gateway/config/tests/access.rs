//! Who may pass a route, how often, and what becomes of the token.

use super::{ROUTE, accepts, refuses};
use crate::config::model::{Access, ConsumerFilter};

#[track_caller]
fn check(lines: &str, problem: &str) {
    refuses(
        &format!("{ROUTE}{lines}\n"),
        &format!("gateway.toml:7: {problem}"),
    );
}

#[test]
fn requirements() {
    const FORMS: &str = "give one of { role = \"..\" }, { scope = \"..\" }, { permission = \"..\" }, { any = [..] } and { all = [..] }";
    for rule in [
        "\"admin\"",
        "{}",
        "{ role = \"a\", scope = \"b\" }",
        "{ not = { role = \"a\" } }",
        "{ any = [\"a\"] }",
    ] {
        check(
            &format!("require = {rule}"),
            &format!("`routes[0].require`: {FORMS}"),
        );
    }
    check(
        "require = { all = [] }",
        "`routes[0].require`: an empty list asks for nothing that anybody could have: name something",
    );
    check(
        "require = { scope = \"a b\" }",
        "`routes[0].require`: this is more than one scope: use { all = [..] } or { any = [..] }",
    );
    check(
        "require = { role = 1 }",
        "`routes[0].require`: give a string in quotes",
    );
    refuses(
        &format!("{ROUTE}require = {{ any = [\n{{ role = \"a\" }},\n{{ role = \"\" }}] }}\n"),
        "gateway.toml:9: `routes[0].require`: it must not be empty",
    );
    check(
        "require_for = { post = { role = \"a\" } }",
        "`routes[0].require_for`: there is no method \"post\" that a route could match; methods are in capitals",
    );
    check(
        "require_for = { POST = { role = \"a\" } }\nmethods = [\"GET\"]",
        "`routes[0].require_for`: POST is not among the `methods` of this route",
    );
}

#[test]
fn a_public_route_knows_nobody() {
    for key in [
        "require = { role = \"a\" }",
        "require_for = {}",
        "consumers = { deny = [] }",
    ] {
        let name = key.split(' ').next().unwrap();
        check(
            &format!("{key}\npublic = true"),
            &format!(
                "`routes[0].{name}` asks who is calling, and a public route does not know: remove it, or `public`"
            ),
        );
    }
    check(
        "propagate = \"forward\"\npublic = true",
        "`routes[0].propagate` must be \"none\" on a public route, where no token is verified",
    );
    check(
        "rate_limits = [{ name = \"a\", key = \"subject\", requests = 1, per = \"1s\" }]\npublic = true",
        "`routes[0].rate_limits[0].key` must be \"address\" on a public route, where nobody is known",
    );
    let configuration = accepts(&format!("{ROUTE}public = true\n"));
    assert!(matches!(configuration.routes[0].access, Access::Public));
}

#[test]
fn consumers_of_a_route_are_known() {
    check(
        "consumers = { allow = [\"acme\"] }",
        "`routes[0].consumers`: \"acme\" is not among [[consumers]]",
    );
    check(
        "consumers = { allow = [] }",
        "`routes[0].consumers`: name at least one",
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
        "`routes[0].rate_limits[0].key`: there is no \"ip\": choose one of subject, client, address",
    );
    limit(
        "{ name = \"a\", key = \"address\", plan = true }",
        "`routes[0].rate_limits[0].plan` belongs to a consumer, not to an address: use the key \"client\" or \"subject\"",
    );
    limit(
        "{ name = \"a\", key = \"client\", plan = true, requests = 1 }",
        "`routes[0].rate_limits[0].requests` comes from the plan here: remove it, or `plan`",
    );
    limit(
        "{ name = \"a\", key = \"client\", plan = true }, { name = \"a\", key = \"subject\", plan = true }",
        "there are two limits named \"a\" here: clients could not tell them apart",
    );
    limit(
        "{ name = \"a\", key = \"client\", requests = 1, per = \"0s\" }",
        "`routes[0].rate_limits[0].per`: zero leaves no time at all: give some",
    );
}

#[test]
fn tokens_that_are_made_here_are_not_there_yet() {
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
        "`routes[0].propagate`: there is no \"all\": choose one of none, forward",
    );
    check(
        "mode = \"dry\"",
        "`routes[0].mode`: there is no \"dry\": choose one of enforce, report",
    );
}
