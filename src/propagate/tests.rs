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

/// What leaves through the layer.
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
async fn the_requests_own_caller_is_passed_on_and_marked_sensitive() {
    let headers = sent(layer(), get(ORDERS, Some(verified()))).await;
    assert_eq!(headers[AUTHORIZATION], fixture::AUTHORIZATION);
    assert!(headers[AUTHORIZATION].is_sensitive());
}

#[tokio::test]
async fn the_tasks_caller_is_passed_on() {
    let headers = with_caller(Some(verified()), sent(layer(), get(ORDERS, None))).await;
    assert_eq!(headers[AUTHORIZATION], fixture::AUTHORIZATION);
    assert!(sent(layer(), get(ORDERS, None)).await.is_empty());
}

#[tokio::test]
async fn an_explicit_anonymous_wins_over_the_tasks_caller() {
    let request = get(ORDERS, Some(Caller::Anonymous));
    let headers = with_caller(Some(verified()), sent(layer(), request)).await;
    assert!(headers.is_empty());
}

#[tokio::test]
async fn a_request_to_elsewhere_gets_nothing() {
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
async fn the_host_header_has_no_say() {
    for uri in ["https://evil/", "/v1"] {
        let mut request = get(uri, Some(verified()));
        let host = HeaderValue::from_static("orders.internal");
        request.headers_mut().insert("host", host);
        let headers = sent(layer(), request).await;
        assert!(!headers.contains_key(AUTHORIZATION), "{uri}");
    }
}

#[tokio::test]
async fn a_credential_of_the_application_is_replaced_only_where_ours_is_sent() {
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
async fn a_relative_uri_goes_to_the_origin_that_the_client_adds() {
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
fn an_origin_that_is_not_on_the_list_cannot_be_implied() {
    let error = layer().for_origin("https://evil").unwrap_err();
    assert!(matches!(error, ConfigError::Url { .. }));
    assert!(layer().for_origin("/v1").is_err());
}

#[tokio::test]
async fn switched_off_it_adds_nothing() {
    let layer = layer().enabled(false);
    assert!(sent(layer, get(ORDERS, Some(verified()))).await.is_empty());
}

#[tokio::test]
async fn identity_headers_tell_the_client_below_who_is_calling() {
    // As a handler would: its own request holds the caller, the one it sends knows nothing of that.
    let handler = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        *response.headers_mut() = sent(layer(), get(ORDERS, None)).await;
        Ok::<_, Infallible>(response)
    });
    let service = IdentityHeadersLayer::new().layer(handler);
    for (caller, expected) in [
        (Some(verified()), 1),
        (Some(Caller::Anonymous), 0),
        (None, 0),
    ] {
        let response = service.clone().oneshot(get("/", caller)).await.unwrap();
        assert_eq!(response.headers().len(), expected);
    }
}

#[test]
fn readiness_is_the_clients() {
    let (mock, mut handle) = tower_test::mock::pair::<Request<()>, Response<()>>();
    let mut service = layer().layer(mock);
    let mut cx = Context::from_waker(Waker::noop());
    handle.allow(0);
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_pending());
    handle.allow(1);
    assert!(Service::<Request<()>>::poll_ready(&mut service, &mut cx).is_ready());
}

#[test]
fn neither_layer_nor_service_prints_a_token() {
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
