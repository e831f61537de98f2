//! Tokens that name their own tenant, and with it the URL of its keys.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, Uri};
use portcullis::{Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, KeySet, ManualClock};
use serde_json::json;
use tokio::net::TcpListener;

use super::board::Board;
use super::site::{NOW, Stack, present, stack};
use crate::forge::Forge;

/// An issuer with a realm for each of its tenants.
struct Realms {
    origin: String,
    clock: ManualClock,
    acme: Forge,
    globex: Forge,
    requests: Arc<AtomicUsize>,
    down: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Clone)]
struct Desk {
    origin: String,
    keys: [String; 2],
    down: Arc<Mutex<BTreeSet<String>>>,
}

impl Realms {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (acme, globex) = (Forge::new(), Forge::new());
        let keys = [acme.jwk("acme"), globex.jwk("globex")];
        let down = Arc::<Mutex<BTreeSet<String>>>::default();
        let desk = Desk {
            origin: origin.clone(),
            keys: keys.map(|jwk| json!({ "keys": [jwk] }).to_string()),
            down: down.clone(),
        };
        let requests = Arc::<AtomicUsize>::default();
        let count = requests.clone();
        let counted = axum::middleware::from_fn(move |request, next: axum::middleware::Next| {
            count.fetch_add(1, Ordering::SeqCst);
            next.run(request)
        });
        let realms = Router::new()
            .route(
                "/realms/{realm}/.well-known/openid-configuration",
                get(metadata),
            )
            .route("/realms/{realm}/keys", get(keys_of))
            .fallback(StatusCode::NOT_FOUND)
            .with_state(desk)
            .layer(counted);
        tokio::spawn(async move { axum::serve(listener, realms).await });
        Self {
            origin,
            clock: ManualClock::at(NOW),
            acme,
            globex,
            requests,
            down,
        }
    }

    fn pattern(&self) -> String {
        format!("{}/realms/{{tenant}}", self.origin)
    }

    fn policy(&self) -> Issuer {
        let policy = Issuer::tenants(self.pattern()).unwrap();
        policy.audience("api://{tenant}/orders")
    }

    /// A service that trusts the realms and has not fetched any keys.
    fn behind(&self, policy: Issuer) -> Stack {
        let clock = Clock::from(self.clock.clone());
        let source = JwksSource::discover(self.pattern()).unwrap();
        let keys = JwksCache::new([source.clock(clock.clone())]).unwrap();
        let auth = JwtAuthLayer::new([policy.with_keys(keys)]).unwrap();
        stack(auth.clock(clock))
    }

    /// A token of any issuer, signed with acme's key.
    fn token(&self, iss: &str, audience: &str) -> String {
        self.acme
            .sign(r#"{"alg":"ES256","kid":"acme"}"#, claims(iss, audience))
    }

    fn realm(&self, tenant: &str) -> String {
        self.pattern().replace("{tenant}", tenant)
    }

    /// A token of acme, with this name of the tenant.
    fn of(&self, tenant: &str) -> String {
        self.token(&self.realm(tenant), "api://acme/orders")
    }

    /// The number of requests since the last call.
    fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

fn claims(iss: &str, audience: &str) -> String {
    json!({"iss": iss, "aud": audience, "sub": "alice", "exp": NOW + 300}).to_string()
}

async fn metadata(State(desk): State<Desk>, Path(realm): Path<String>) -> Response {
    if desk.down.lock().unwrap().contains(&realm) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    // Like some issuers, it ignores the case of a realm, and has one realm for all tenants.
    let name = realm.to_ascii_lowercase();
    let name = if name == "common" { "{tenant}" } else { &name };
    if !["acme", "globex", "{tenant}"].contains(&name) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let issuer = format!("{}/realms/{name}", desk.origin);
    let jwks_uri = format!("{}/realms/acme/keys", desk.origin);
    let jwks_uri = if name == "globex" {
        jwks_uri.replace("acme", name)
    } else {
        jwks_uri
    };
    axum::Json(json!({"issuer": issuer, "jwks_uri": jwks_uri})).into_response()
}

async fn keys_of(State(desk): State<Desk>, uri: Uri) -> String {
    let [acme, globex] = desk.keys;
    if uri.path().contains("globex") {
        globex
    } else {
        acme
    }
}

pub(crate) async fn mount(board: &mut Board) {
    names(board).await;
    others(board).await;
    shared(board).await;
    floods(board).await;
}

/// Tenant names that lead to other URLs. No request is sent for any of them.
async fn names(board: &mut Board) {
    let realms = Realms::open().await;
    let stack = realms.behind(realms.policy());
    assert_eq!(present(&stack, &realms.of("acme")).await, "200", "control");
    let port = realms.origin.rsplit(':').next().unwrap();
    realms.requests();
    for (id, iss) in [
        (
            "tenant-that-climbs-out",
            realms.realm("acme/../../realms/acme"),
        ),
        (
            "tenant-that-climbs-out-in-escapes",
            realms.realm("..%2frealms%2facme"),
        ),
        ("tenant-that-goes-on", realms.realm("acme/protocol")),
        ("tenant-that-ends-in-a-query", realms.realm("acme?")),
        (
            "tenant-that-is-a-well-known-place",
            realms.realm(".well-known"),
        ),
        ("tenant-in-another-alphabet", realms.realm("\u{430}cme")),
        ("tenant-without-end", realms.realm(&"a".repeat(129))),
        (
            "tenant-of-another-host",
            format!("{}@evil.example/realms/acme", realms.origin),
        ),
        (
            "tenant-of-another-port",
            realms.realm("acme").replace(port, "1"),
        ),
        ("tenant-that-is-empty", realms.realm("")),
        ("tenant-that-is-its-place", realms.pattern()),
    ] {
        let answer = present(&stack, &realms.token(&iss, "api://acme/orders")).await;
        board.row(id, format!("{answer}, {} requests", realms.requests()));
    }
}

/// Names of tenants that exist, or could exist.
async fn others(board: &mut Board) {
    let realms = Realms::open().await;
    let stack = realms.behind(realms.policy());
    board.row(
        "tenant-that-nobody-has",
        present(&stack, &realms.of("initech")).await,
    );
    board.row(
        "tenant-in-another-case",
        present(&stack, &realms.of("ACME")).await,
    );
    board.row(
        "tenant-that-stands-for-all",
        present(&stack, &realms.of("common")).await,
    );
    let globex = r#"{"alg":"ES256","kid":"globex"}"#;
    let acme = realms.realm("acme");
    let confused = realms
        .globex
        .sign(globex, claims(&acme, "api://acme/orders"));
    board.row(
        "tenant-that-signs-for-another",
        present(&stack, &confused).await,
    );
    let strayed = realms.token(&acme, "api://globex/orders");
    board.row(
        "audience-of-another-tenant",
        present(&stack, &strayed).await,
    );
    let literal = realms.token(&acme, "api://{tenant}/orders");
    board.row(
        "audience-that-is-the-template",
        present(&stack, &literal).await,
    );
    assert_eq!(present(&stack, &realms.of("acme")).await, "200", "control");

    realms.down.lock().unwrap().insert("globex".to_owned());
    let claims = claims(&realms.realm("globex"), "api://globex/orders");
    let good = realms.globex.sign(globex, claims);
    board.row("tenant-whose-keys-are-down", present(&stack, &good).await);

    let few = realms.behind(realms.policy().allow_tenants(|tenant| tenant == "acme"));
    assert_eq!(present(&few, &realms.of("acme")).await, "200", "control");
    realms.down.lock().unwrap().clear();
    realms.requests();
    let answer = present(&few, &good).await;
    assert_eq!(realms.requests(), 0);
    board.row("tenant-that-is-not-allowed", answer);
    assert_eq!(
        present(&realms.behind(realms.policy()), &good).await,
        "200",
        "control"
    );
}

/// One key set for all tenants, in which one key names its issuer.
async fn shared(board: &mut Board) {
    const PATTERN: &str = "https://id.example.com/{tenant}/v2.0";
    let iss = |tenant| PATTERN.replace("{tenant}", tenant);
    let (all, consumers) = (Forge::new(), Forge::new());
    let mut jwks = [all.jwk("all"), consumers.jwk("consumers")];
    jwks[0]["issuer"] = json!(iss("{tenantid}"));
    jwks[1]["issuer"] = json!(iss("consumers"));
    let keys = KeySet::from_json(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
    let keys = JwksCache::new([JwksSource::keys(PATTERN, keys)]).unwrap();
    let policy = Issuer::tenants(PATTERN).unwrap().audience("orders-api");
    let auth = JwtAuthLayer::new([policy.with_keys(keys)]).unwrap();
    let stack = stack(auth.clock(ManualClock::at(NOW)));
    let token = |key: &Forge, kid, tenant| {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
        key.sign(header, claims(&iss(tenant), "orders-api"))
    };
    for (key, kid, tenant) in [
        (&all, "all", "acme"),
        (&all, "all", "consumers"),
        (&consumers, "consumers", "consumers"),
    ] {
        let answer = present(&stack, &token(key, kid, tenant)).await;
        assert_eq!(answer, "200", "control");
    }
    let forged = token(&consumers, "consumers", "acme");
    board.row(
        "key-of-one-tenant-in-a-set-of-all",
        present(&stack, &forged).await,
    );
}

async fn floods(board: &mut Board) {
    let realms = Realms::open().await;
    let stack = realms.behind(realms.policy());
    assert_eq!(present(&stack, &realms.of("acme")).await, "200", "control");
    realms.requests();
    let mut answers = Vec::new();
    for tenant in 0..200 {
        answers.push(present(&stack, &realms.of(&format!("t{tenant}"))).await);
    }
    answers.dedup();
    // Metadata may be at two URLs for each of 32 tenants.
    let outcome = format!("{}, {} requests", answers.join(" or "), realms.requests());
    board.row("flood-of-made-up-tenants", outcome);
    let known = present(&stack, &realms.of("acme")).await;
    let outcome = format!("{known}, {} requests", realms.requests());
    board.row("flood-that-would-push-a-tenant-out", outcome);

    let listed = ["acme", "globex"];
    let stack = realms.behind(
        realms
            .policy()
            .allow_tenants(move |tenant| listed.contains(&tenant)),
    );
    for tenant in 0..200 {
        present(&stack, &realms.of(&format!("t{tenant}"))).await;
    }
    assert_eq!(realms.requests(), 0);
    board.row(
        "new-tenant-in-a-flood-of-made-up-ones",
        present(&stack, &realms.of("acme")).await,
    );
}
