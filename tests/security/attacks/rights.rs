//! Verified callers that use rights they do not have.

use http::Method;
use portcullis::{RequireLayer, RequireRoleLayer, Rule, Rules};
use serde_json::json;

use super::board::Board;
use super::site::{Site, attempt, auth, policy, present, request, stack};

pub(crate) async fn mount(board: &mut Board) {
    let site = Site::open().await;
    let token = || site.issuer.token("alice");
    let admin = stack((site.auth.clone(), RequireRoleLayer::any(["admin"])));
    let good = token().role("admin").sign();
    assert_eq!(present(&admin, &good).await, "200", "control");
    for (id, token) in [
        ("role-in-another-case", token().role("Admin")),
        ("role-that-begins-alike", token().role("administrator")),
        (
            "roles-in-one-string",
            token().claim("roles", "admin,reader"),
        ),
        ("role-as-a-scope", token().scope("admin")),
    ] {
        board.row(id, present(&admin, &token.sign()).await);
    }

    let keycloak = policy(&site.issuer).roles_claim(["realm_access", "roles"]);
    let keycloak = auth(keycloak, &site.keys, &site.clock);
    let keycloak = stack((keycloak, RequireRoleLayer::any(["admin"])));
    let of_realm = token()
        .claim("realm_access", json!({"roles": ["admin"]}))
        .sign();
    assert_eq!(present(&keycloak, &of_realm).await, "200", "control");
    let of_client = json!({"another-client": {"roles": ["admin"]}});
    let of_client = token().claim("resource_access", of_client).sign();
    board.row(
        "role-of-another-client",
        present(&keycloak, &of_client).await,
    );
    let dotted = token().claim("realm_access.roles", ["admin"]).sign();
    board.row("path-in-one-name", present(&keycloak, &dotted).await);

    let nested = Rule::all([
        Rule::role("x"),
        Rule::any([
            Rule::role("a"),
            Rule::all([Rule::role("b"), Rule::role("c")]),
        ]),
    ]);
    let nested = stack((site.auth.clone(), RequireLayer::new(nested)));
    let good = token().roles(["x", "b", "c"]).sign();
    assert_eq!(present(&nested, &good).await, "200", "control");
    let around = token().roles(["b", "c"]).sign();
    board.row("way-round-a-nested-rule", present(&nested, &around).await);

    let methods = Rules::from(Rule::role("reader")).method(Method::DELETE, Rule::role("admin"));
    let methods = stack((site.auth.clone(), RequireLayer::new(methods)));
    let reader = token().role("reader").sign();
    assert_eq!(present(&methods, &reader).await, "200", "control");
    let mut delete = request(Some(&reader));
    *delete.method_mut() = Method::from_bytes(b"dElete").unwrap();
    board.row("method-in-another-case", attempt(&methods, delete).await);

    let nobody = stack((site.auth.clone(), RequireRoleLayer::any([] as [&str; 0])));
    let all = token().roles(["admin", ""]).sign();
    board.row("rule-of-no-roles", present(&nobody, &all).await);
    let not = RequireLayer::new(Rule::not(Rule::subject("mallory")));
    let not = stack((site.auth.clone().optional(), not));
    board.row("nobody-is-not-mallory", attempt(&not, request(None)).await);
}
