use std::convert::Infallible;
use std::task::{Context, Waker};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::fixture::{self, verified};
use super::*;
use crate::error::ConfigError;
use crate::identity::Caller;

// Over real connections.
mod clients;

const ORDERS: &str = "https://orders.internal/v1";

fn layer() -> TokenPropagationLayer {
    TokenPropagationLayer::forward_to(["https://orders.internal"]).unwrap()
}

/// The headers that the layer sends.
async fn sent(layer: TokenPropagationLayer, request: Request<()>) -> HeaderMap {
    let client = service_fn(|request: Request<()>| async {
        Ok::<_, Infallible>(Response::new(request.into_parts().0.headers))
    });
    let response = layer.layer(client).oneshot(request).await.unwrap();
    response.into_body()
}

fn get(uri: &str, caller: Option<Caller>) -> Request<()> {
    let mut request = Request::get(uri).body(()).unwrap();
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    request
}

#[tokio::test]
async fn the_token_is_sent_and_marked_sensitive() {
    let headers = sent(layer(), get(ORDERS, Some(verified()))).await;
    assert_eq!(headers[AUTHORIZATION], fixture::AUTHORIZATION);
    assert!(headers[AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn the_caller_of_the_task_is_used() {
    let headers = with_caller(Some(verified()), sent(layer(), get(ORDERS, None))).await;
    assert_eq!(headers[AUTHORIZATION], fixture::AUTHORIZATION);
    assert!(sent(layer(), get(ORDERS, None)).await.is_empty());
}

#[tokio::test]
async fn an_explicit_anonymous_caller_takes_precedence() {
    let request = get(ORDERS, Some(Caller::Anonymous));
    let headers = with_caller(Some(verified()), sent(layer(), request)).await;
    assert!(headers.is_empty());
}

#[tokio::test]
async fn other_origins_get_no_token() {
    for uri in [
        "https://orders.internal.evil/",
        "https://orders.internal@evil/",
        "https://orders.internal:8443/",
        "http://orders.internal/",
        "/v1",
    ] {
        let headers = sent(layer(), get(uri, Some(verified()))).await;
        assert!(headers.is_empty(), "{uri}");
    }
}

#[tokio::test]
async fn the_host_header_is_ignored() {
    for uri in ["https://evil/", "/v1"] {
        let mut request = get(uri, Some(verified()));
        let host = HeaderValue::from_static("orders.internal");
        request.headers_mut().insert("host", host);
        let headers = sent(layer(), request).await;
        assert!(!headers.contains_key(AUTHORIZATION), "{uri}");
    }
}

#[tokio::test]
async fn an_own_credential_is_replaced_only_by_ours() {
    for (uri, expected) in [
        (ORDERS, fixture::AUTHORIZATION),
        ("https://elsewhere/", "Basic own"),
    ] {
        let mut request = get(uri, Some(verified()));
        for _ in 0..2 {
            let own = HeaderValue::from_static("Basic own");
            request.headers_mut().append(AUTHORIZATION, own);
        }
        let headers = sent(layer(), request).await;
        assert_eq!(headers[AUTHORIZATION], expected);
        let ours = expected == fixture::AUTHORIZATION;
        let count = headers.get_all(AUTHORIZATION).iter().count();
        assert_eq!(count, if ours { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_relative_uri_has_the_implied_origin() {
    let layer = layer().for_origin("https://Orders.internal:443").unwrap();
    let headers = sent(layer.clone(), get("/v1", Some(verified()))).await;
    assert_eq!(headers[AUTHORIZATION], fixture::AUTHORIZATION);
    assert!(
        sent(layer, get("https://evil/v1", Some(verified())))
            .await
            .is_empty()
    );
}

#[test]
fn an_unlisted_origin_cannot_be_implied() {
    let error = layer().for_origin("https://evil").unwrap_err();
    assert!(matches!(error, ConfigError::Url { .. }));
    assert!(layer().for_origin("/v1").is_err());
}

#[tokio::test]
async fn switched_off_it_adds_nothing() {
    let layer = layer().enabled(false);
    assert!(sent(layer, get(ORDERS, Some(verified()))).await.is_empty());
}

#[test]
fn readiness_is_that_of_the_client() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = layer().layer(mock);
    let mut cx = Context::from_waker(Waker::noop());
    handle.allow(0);
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_pending());
    handle.allow(1);
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
}

#[test]
fn debug_output_has_no_token() {
    let caller = verified();
    let text = format!("{caller:?} {:?} {:?}", layer(), layer().layer(()));
    assert!(text.contains("https://orders.internal") && !text.contains("a.b.c"));
}

#[cfg(feature = "metrics")]
#[test]
fn every_decision_is_counted_once() {
    use metrics_exporter_prometheus::PrometheusBuilder;

    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    metrics::with_local_recorder(&recorder, || {
        runtime.unwrap().block_on(async {
            sent(layer(), get(ORDERS, Some(verified()))).await;
            sent(layer(), get("https://evil/", Some(verified()))).await;
            sent(layer(), get("/", Some(verified()))).await;
            sent(layer(), get(ORDERS, Some(Caller::Anonymous))).await;
            sent(layer(), get(ORDERS, None)).await;
            let inner = service_fn(|_| async { Ok::<_, Infallible>(Response::new(())) });
            let service = IdentityHeadersLayer::new().layer(inner);
            let unsafe_role = fixture::caller("alice", &["a,b"], serde_json::json!({}));
            for caller in [Some(verified()), None, Some(unsafe_role)] {
                service.clone().oneshot(get("/", caller)).await.unwrap();
            }
        });
    });
    let text = prometheus.render();
    for labels in [
        r#"mode="forward",result="sent",reason="""#,
        r#"mode="forward",result="withheld",reason="not_allowed""#,
        r#"mode="forward",result="withheld",reason="no_origin""#,
        r#"mode="forward",result="anonymous",reason="""#,
        r#"mode="forward",result="withheld",reason="no_caller""#,
        r#"mode="headers",result="sent",reason="""#,
        r#"mode="headers",result="anonymous",reason="""#,
        r#"mode="headers",result="refused",reason="invalid_claim""#,
    ] {
        let line = format!("portcullis_propagation_total{{{labels}}} 1");
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[cfg(feature = "tracing")]
#[test]
fn events_name_the_origin_and_never_the_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let events = crate::observe::testing::events(|| {
        runtime.unwrap().block_on(async {
            sent(layer(), get(ORDERS, Some(verified()))).await;
            sent(layer(), get("https://evil/", Some(verified()))).await;
        });
    });
    let text = format!("{events:?}");
    assert!(text.contains("propagation.sent") && text.contains("https://orders.internal"));
    assert!(text.contains("not_allowed") && text.contains("https://evil"));
    assert!(!text.contains("a.b.c"), "{text}");
}

#[cfg(feature = "tracing")]
#[test]
fn a_missing_caller_is_a_warning_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let events = crate::observe::testing::events(|| {
        runtime.unwrap().block_on(async {
            let layer = layer();
            sent(layer.clone(), get("https://evil/", None)).await;
            for _ in 0..2 {
                sent(layer.clone(), get(ORDERS, None)).await;
            }
        });
    });
    let warnings = events.iter().filter(|event| event["level"] == "WARN");
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{events:?}");
    assert_eq!(warnings[0]["event"], "propagation.no_caller");
    assert!(warnings[0]["fix"].as_str().unwrap().contains("with_caller"));
}
