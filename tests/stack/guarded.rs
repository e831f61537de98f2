//! `GuardedRouter`: no request reaches a guarded handler unless the rule of the route admits it.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use http::{HeaderValue, Method, StatusCode};
use portcullis::manifest::{Describe, Entry, Manifest, Undescribed};
use portcullis::{
    GuardedRouter, Identity, Reason, Rejection, RequireLayer, RequireRoleLayer, Rule, Rules,
};
use tower::limit::ConcurrencyLimitLayer;
use tower::service_fn;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

use super::*;

const METHODS: [&str; 11] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND",
    "get",
];

/// Marks the responses of handlers.
async fn reached() -> Response {
    let mut response = Response::new(Body::from("reached"));
    let headers = response.headers_mut();
    headers.insert("x-reached", HeaderValue::from_static("yes"));
    response
}

/// Every kind of route, all of them for administrators.
fn guarded<L: Describe>(layers: L) -> GuardedRouter<L> {
    let service = service_fn(|_: Request| async { Ok::<_, Infallible>(reached().await) });
    let admin = || Rule::role("admin");
    GuardedRouter::new(layers)
        .route("/get", get(reached), admin())
        .route("/both", get(reached).post(reached), admin())
        .route("/split", get(reached), admin())
        .route("/split", post(reached), RequireRoleLayer::any(["admin"]))
        .route("/any", any(reached), admin())
        .route("/fallback", get(reached).fallback(reached), admin())
        .route(
            "/rules",
            get(reached).put(reached),
            Rules::new().reads(admin()).writes(admin()),
        )
        .route("/none", MethodRouter::new(), admin())
        .route_service("/service/{*rest}", service, admin())
        .route_service("/one", service, RequireLayer::new(admin()))
        .public("/public", get(reached))
}

/// The paths of `guarded`, with the methods that have a handler.
fn paths() -> [(&'static str, &'static [&'static str]); 9] {
    const GET: &[&str] = &["GET", "HEAD"];
    [
        ("/get", GET),
        ("/both", &["GET", "HEAD", "POST"]),
        ("/split", &["GET", "HEAD", "POST"]),
        ("/any", &METHODS),
        ("/fallback", &METHODS),
        ("/rules", &["GET", "HEAD", "PUT"]),
        ("/none", &[]),
        ("/service/a/b", &METHODS),
        ("/one", &METHODS),
    ]
}

async fn call(app: &Router, method: &str, path: &str, token: Option<&str>) -> Response {
    let mut request = request(token);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    *request.uri_mut() = path.parse().unwrap();
    app.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn only_admitted_callers_reach_guarded_handlers() {
    let (issuer, auth) = warm_auth().await;
    let auth = || auth.clone();
    let not_found = || async { StatusCode::NOT_FOUND };
    let optional = || auth().optional();
    let module = || guarded(());
    let tower_http = (TraceLayer::new_for_http(), ConcurrencyLimitLayer::new(99));
    let apps: Vec<(&str, &str, Router)> = vec![
        ("plain", "", guarded(auth()).into_router()),
        ("optional", "", guarded(optional()).into_router()),
        (
            "tuple",
            "",
            guarded((Undescribed(tower_http), auth())).into_router(),
        ),
        (
            "nested",
            "/a",
            GuardedRouter::new(auth())
                .nest("/a", module())
                .into_router(),
        ),
        (
            "nested with /",
            "/a",
            GuardedRouter::new(auth())
                .nest("/a/", module())
                .into_router(),
        ),
        (
            "nested twice",
            "/a/b",
            GuardedRouter::new(auth())
                .nest("/a", GuardedRouter::new(()).nest("/b", module()))
                .into_router(),
        ),
        (
            "inner layers",
            "/a",
            GuardedRouter::new(())
                .nest("/a", guarded(auth()))
                .into_router(),
        ),
        (
            "merged",
            "",
            GuardedRouter::new(auth()).merge(module()).into_router(),
        ),
        (
            "merged beside others",
            "",
            GuardedRouter::new(auth())
                .merge(module())
                .route("/get", post(not_found), Rule::nobody())
                .nest("/a", module())
                .into_router(),
        ),
        (
            "axum nest",
            "/a",
            Router::new().nest("/a", guarded(auth()).into_router()),
        ),
        (
            "axum merge",
            "",
            Router::new()
                .merge(guarded(auth()).into_router())
                .fallback(reached),
        ),
        (
            "method_not_allowed_fallback",
            "",
            guarded(auth())
                .into_router()
                .method_not_allowed_fallback(reached),
        ),
    ];
    let [admin, guest] = ["admin", "guest"].map(|role| issuer.token("a").role(role).sign());
    let mut requests = 0;
    for (shape, prefix, app) in &apps {
        for (path, handled) in paths() {
            let path = format!("{prefix}{path}");
            for method in METHODS {
                for token in [Some(&admin), Some(&guest), None] {
                    let case = format!("{shape}: {method} {path} {:?}", token.is_some());
                    let response = call(app, method, &path, token.map(String::as_str)).await;
                    requests += 1;
                    let is_admin = token == Some(&admin);
                    let has_handler = handled.contains(&method);
                    let is_reached = response.headers().contains_key("x-reached");
                    assert_eq!(is_reached, is_admin && has_handler, "{case}");
                    let status = response.status().as_u16();
                    match (has_handler, token) {
                        (true, Some(_)) if is_admin => assert_eq!(status, 200, "{case}"),
                        (true, Some(_)) => assert_eq!(status, 403, "{case}"),
                        (true, None) => assert_eq!(status, 401, "{case}"),
                        (false, Some(_)) if path.ends_with("/get") && method == "POST" => {}
                        (false, Some(_)) => {
                            assert_eq!(status, 405, "{case}");
                            let allow = response.headers()["allow"].to_str().unwrap();
                            let allowed: Vec<&str> = allow.split(',').collect();
                            assert_eq!(allowed.contains(&"GET"), !handled.is_empty());
                        }
                        // Optional authentication, or layers of a nested router.
                        (false, None) => assert!([401, 405].contains(&status), "{case}"),
                    }
                }
            }
        }
        let public = call(app, "GET", &format!("{prefix}/public"), None).await;
        assert_eq!(public.status(), 200, "{shape}");
    }
    assert_eq!(requests, apps.len() * paths().len() * METHODS.len() * 3);
}

#[tokio::test]
async fn unnamed_method_is_405_after_authentication() {
    let (issuer, auth) = warm_auth().await;
    let rules = Rules::new().method(Method::GET, Rule::role("admin"));
    let app = GuardedRouter::new(auth)
        .route("/a", get(reached).put(reached), rules)
        .into_router();
    let guest = issuer.token("a").role("guest").sign();
    for (method, token, status) in [
        ("DELETE", Some(&guest), 405),
        ("DELETE", None, 401),
        ("PUT", Some(&guest), 403), // has a handler, and no rule
        ("GET", Some(&guest), 403),
    ] {
        let response = call(&app, method, "/a", token.map(String::as_str)).await;
        assert_eq!(response.status(), status, "{method}");
    }
    let response = call(&app, "DELETE", "/a", Some(&guest)).await;
    assert_eq!(response.headers()["allow"], "GET,HEAD,PUT");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.reason(), Reason::MethodNotAllowed);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
}

#[tokio::test]
async fn one_route_serves_anonymous_and_verified_callers() {
    async fn prices(me: Option<Identity>) -> String {
        me.map_or("list prices".to_owned(), |me| {
            format!("prices for {}", me.subject())
        })
    }
    let (issuer, auth) = warm_auth().await;
    let everyone = || Rule::anonymous() | Rule::verified();
    let rules = Rules::new().reads(everyone()).writes(Rule::role("admin"));
    let app = GuardedRouter::new(auth.optional())
        .route("/prices", get(prices).put(reached), rules)
        .route("/strangers", get(reached), Rule::anonymous())
        .route("/me", get(reached), Rule::verified())
        .into_router();
    let alice = issuer.token("alice").sign();
    let bad = issuer.token("alice").expired().sign();
    for (method, path, token, status) in [
        ("GET", "/prices", None, 200),
        ("GET", "/prices", Some(&alice), 200),
        // A bad token is not an anonymous caller.
        ("GET", "/prices", Some(&bad), 401),
        ("PUT", "/prices", None, 401),
        ("PUT", "/prices", Some(&alice), 403),
        ("DELETE", "/prices", None, 405),
        ("GET", "/strangers", None, 200),
        ("GET", "/strangers", Some(&alice), 403),
        ("GET", "/me", None, 401),
        ("GET", "/me", Some(&alice), 200),
    ] {
        let response = call(&app, method, path, token.map(String::as_str)).await;
        assert_eq!(
            response.status(),
            status,
            "{method} {path} {:?}",
            token.is_some()
        );
    }
    for (token, text) in [(None, "list prices"), (Some(&*alice), "prices for alice")] {
        let body = call(&app, "GET", "/prices", token).await.into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes(), text);
    }
}

#[tokio::test]
async fn routers_with_state_are_nested() {
    async fn name(State(name): State<&'static str>) -> &'static str {
        name
    }
    let (issuer, auth) = warm_auth().await;
    let module = GuardedRouter::new(()).route("/name", get(name), Rule::verified());
    let app = GuardedRouter::new(auth)
        .nest("/a", module)
        .into_router()
        .with_state("orders");
    let token = issuer.token("a").sign();
    assert_eq!(
        call(&app, "GET", "/a/name", Some(&token)).await.status(),
        200
    );
    assert_eq!(call(&app, "GET", "/a/name", None).await.status(), 401);
}

#[tokio::test]
async fn manifest_of_nested_routers_names_all_layers() {
    struct Named(&'static str);
    impl Describe for Named {
        fn describe(&self, entry: &mut Entry) {
            entry.propagates(self.0, "nothing");
        }
    }
    let inner = GuardedRouter::<_, ()>::new(Named("inner"))
        .route("/", get(reached), Rule::verified())
        .route(
            "/switched-off",
            get(reached),
            RequireRoleLayer::any(["a"]).enabled(false),
        )
        .public("/health", get(reached));
    let manifest = Manifest::new()
        .merge(inner.manifest().clone())
        .nest("/a")
        .to_string();
    assert!(
        manifest.starts_with("/a\n  propagates inner: nothing\n"),
        "{manifest}"
    );
    let layers: Vec<Box<dyn Describe + Send + Sync>> =
        vec![Box::new(Named("one")), Box::new(Some(Named("two")))];
    let layers = (std::sync::Arc::new(layers), Undescribed(()), None::<Named>);
    let manifest = Manifest::new().route("/", &layers).to_string();
    assert_eq!(
        manifest,
        "/\n  public\n  propagates one: nothing\n  propagates two: nothing\n"
    );

    let (_, auth) = warm_auth().await;
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(9));
    let inner = GuardedRouter::new(Undescribed(timeout))
        .route("/", get(reached), Rule::verified())
        .route(
            "/switched-off",
            get(reached),
            RequireRoleLayer::any(["a"]).enabled(false),
        )
        .public("/health", get(reached));
    let routes = GuardedRouter::new(auth).nest("/a", inner);
    let lines: Vec<String> = routes
        .manifest()
        .to_string()
        .lines()
        .map(str::to_owned)
        .collect();
    let auth = lines[1].clone();
    assert!(auth.starts_with("  authenticates jwt: "), "{auth}");
    assert_eq!(
        lines,
        [
            "/a",
            &*auth,
            "  requires require: all requests verified",
            "/a/switched-off",
            &*auth,
            "/a/health",
            "  public",
        ]
    );
    let _: Router = routes.into_router();
}
