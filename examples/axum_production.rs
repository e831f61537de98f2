//! An axum service in production: the layers of tower-http around the layers of portcullis.
//!
//! The order, outermost first:
//!
//! 1. **Request ID**: every other layer and the response have it.
//! 2. **Sensitive headers**: credentials are hidden in debug output.
//! 3. **Trace**: one span per request with its ID, for rejected requests too.
//! 4. **CORS**: answers preflights, which carry no token, and adds its headers to rejections.
//!    Without them a browser hides the status from the application.
//! 5. **Catch panic**: a panic becomes a 500 that is traced and has the headers of CORS.
//! 6. **Timeout**: includes the time that a request waits for keys.
//! 7. **portcullis**: the limit of failed authentications by address, authentication, the limit by
//!    subject, then the rule of the route.
//!
//! Health and readiness probes are public. Metrics belong on a listener that only the monitoring
//! system can reach; here they share one to keep the example short.
//!
//! `cargo run --example axum_production` starts the service with its own issuer and prints `curl`
//! commands to try.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::header::{AUTHORIZATION, COOKIE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use portcullis::{
    GuardedRouter, Identity, JwtAuthLayer, Quota, RateLimitLayer, Rule, Rules, TestIssuer,
};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

const FRONT_END: &str = "https://app.example.com";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Clone)]
struct App {
    auth: JwtAuthLayer,
    metrics: PrometheusHandle,
}

fn router(app: App) -> Result<Router, Box<dyn Error>> {
    // Behind a load balancer, name its networks: `.trusted_proxies(["10.0.0.0/8"])?`.
    let failures = RateLimitLayer::new(Quota::per_minute(60))
        .named("failed-auth")?
        .by_address()
        .failures_only();
    let calls = RateLimitLayer::new(Quota::per_second(50).burst(100)).by_subject();
    let orders = Rules::new()
        .reads(Rule::scope("orders:read"))
        .writes(Rule::scope("orders:write"));

    let routes = GuardedRouter::new((failures, app.auth.clone(), calls))
        .route("/orders", get(list).post(create), orders)
        .route("/panic", get(panic), Rule::role("admin"))
        .public("/healthz", get(|| async { "alive\n" }))
        .public("/readyz", get(ready))
        .public("/metrics", get(metrics));
    println!("{}", routes.manifest());

    let span = |request: &Request<_>| {
        let id = request.headers().get(REQUEST_ID);
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        let path = request.uri().path(); // without the query, which may hold secrets
        tracing::info_span!("request", method = %request.method(), path, id)
    };
    let cors = CorsLayer::new()
        .allow_origin(FRONT_END.parse::<HeaderValue>()?)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([AUTHORIZATION])
        .expose_headers([RETRY_AFTER, REQUEST_ID]);
    let around = (
        SetRequestIdLayer::x_request_id(MakeRequestUuid),
        SetSensitiveRequestHeadersLayer::new([AUTHORIZATION, COOKIE]),
        TraceLayer::new_for_http().make_span_with(span),
        PropagateRequestIdLayer::x_request_id(),
        cors,
        CatchPanicLayer::new(),
        TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(10)),
    );
    Ok(routes.into_router().layer(around).with_state(app))
}

async fn list(me: Identity) -> String {
    format!("orders of {}\n", me.subject())
}

async fn create(me: Identity) -> (StatusCode, String) {
    (
        StatusCode::CREATED,
        format!("ordered by {}\n", me.subject()),
    )
}

async fn panic() {
    panic!("the client sees a 500 and nothing of this text");
}

/// Ready if tokens of every issuer can be verified, also with stale keys.
async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    let mut issuers = app.auth.keys().into_iter().flat_map(|keys| keys.status());
    if issuers.all(|issuer| issuer.state.is_ready()) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for keys\n")
    }
}

async fn metrics(State(app): State<App>) -> String {
    app.metrics.render()
}

/// Fetches the keys at startup. Before the service is ready, no token arrives that would start a
/// fetch.
async fn warm(auth: JwtAuthLayer) {
    for keys in auth.keys() {
        while let Err(error) = keys.warm().await {
            tracing::warn!(%error, "the keys are not available yet");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let durations = Matcher::Suffix("duration_seconds".to_owned());
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(durations, &[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0])?
        .install_recorder()?;

    let issuer = TestIssuer::start().await?;
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?;
    tokio::spawn(warm(auth.clone()));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = router(App { auth, metrics })?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async {
        let _ = tokio::signal::ctrl_c().await;
    });

    let token = |scope: &str| {
        let token = issuer.token("alice").audience("orders-api");
        token.scope(scope).role("admin").sign()
    };
    let token = token("orders:read");
    println!("curl -i -H 'Authorization: Bearer {token}' {url}/orders");
    println!("curl -i -X POST -H 'Authorization: Bearer {token}' {url}/orders");
    println!("curl -i {url}/readyz");
    if std::env::args().any(|argument| argument == "--check") {
        tokio::spawn(server.into_future());
        return check(&url, &token).await;
    }
    Ok(server.await?)
}

/// Checks what the order of the layers achieves.
async fn check(url: &str, token: &str) -> Result<(), Box<dyn Error>> {
    let client = reqwest::Client::new();
    let get = |path: &str| {
        client
            .get(format!("{url}{path}"))
            .header("origin", FRONT_END)
    };
    while get("/readyz").send().await?.status() != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = get("/orders").bearer_auth(token).send().await?;
    assert_eq!(found.status(), 200);
    assert_eq!(found.text().await?, "orders of alice\n");

    // A browser may read a rejection, and support can find it by its ID.
    for (response, status) in [
        (get("/orders").send().await?, 401),
        (get("/panic").bearer_auth(token).send().await?, 500),
        (get("/nothing").send().await?, 404),
    ] {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], FRONT_END);
        assert!(response.headers().contains_key("x-request-id"));
    }
    let post = client.post(format!("{url}/orders")).bearer_auth(token);
    assert_eq!(post.send().await?.status(), 403);

    // A preflight carries no token.
    let preflight = client
        .request(Method::OPTIONS, format!("{url}/orders"))
        .header("origin", FRONT_END)
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    assert_eq!(preflight.send().await?.status(), 200);

    let metrics = get("/metrics").send().await?.text().await?;
    assert!(
        metrics.contains("portcullis_auth_requests_total"),
        "{metrics}"
    );
    assert!(
        metrics.contains("portcullis_auth_duration_seconds_bucket"),
        "{metrics}"
    );
    Ok(())
}
