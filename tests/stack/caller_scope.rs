//! `JwtAuthLayer` opens the scope of the caller, so clients inside find its token.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use portcullis::propagate::{current_caller, with_caller};
use portcullis::{Caller, TokenPropagationLayer};
use tower::{Layer, ServiceExt, service_fn};

use super::{request, warm_auth};

/// `JwtAuthLayer` opens scopes in processes that have built such a layer.
fn propagation() -> TokenPropagationLayer {
    TokenPropagationLayer::forward_to(["https://orders.internal"]).unwrap()
}

fn subject() -> Option<String> {
    let caller = current_caller()?;
    Some(caller.identity()?.subject().to_owned())
}

#[tokio::test]
async fn a_client_inside_sends_the_token() {
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").sign();
    let upstream = service_fn(|request: Request<()>| async {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = request.into_parts().0.headers;
        Ok::<_, Infallible>(response)
    });
    let client = propagation().layer(upstream);
    let service = auth.layer(service_fn(move |_: Request<Body>| {
        let request = Request::get("https://orders.internal/v1").body(()).unwrap();
        client.clone().oneshot(request)
    }));
    // The second request uses the token cache.
    for _ in 0..2 {
        let response = service
            .clone()
            .oneshot(request(Some(&token)))
            .await
            .unwrap();
        assert_eq!(
            response.headers()["authorization"],
            format!("Bearer {token}")
        );
    }
}

#[tokio::test]
async fn the_scope_covers_the_call_and_the_future() {
    let _ = propagation();
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").sign();
    let service = auth.layer(service_fn(|_: Request<Body>| {
        let in_call = subject();
        async move {
            tokio::task::yield_now().await;
            assert_eq!(subject(), in_call);
            Ok::<_, Infallible>(Response::new(format!("{in_call:?}")))
        }
    }));
    let response = service.oneshot(request(Some(&token))).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "Some(\"alice\")");
    assert!(current_caller().is_none());
}

#[tokio::test]
async fn an_anonymous_request_inherits_no_caller() {
    let _ = propagation();
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").sign();
    let optional = auth.clone().optional();
    let reporting = auth.clone().dangerous_report_authentication();
    for inner in [optional, reporting] {
        let inner = inner.layer(service_fn(|_: Request<Body>| async {
            let is_anonymous = matches!(current_caller(), Some(Caller::Anonymous));
            Ok::<_, Infallible>(Response::new(is_anonymous.to_string()))
        }));
        let outer = auth.layer(service_fn(move |_: Request<Body>| {
            inner.clone().oneshot(request(None))
        }));
        let response = outer.oneshot(request(Some(&token))).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "true");
    }
}

#[tokio::test]
async fn a_response_body_has_no_caller() {
    let _ = propagation();
    let (issuer, auth) = warm_auth().await;
    let token = issuer.token("alice").sign();
    let service = auth.layer(service_fn(|_: Request<Body>| async {
        let early = subject();
        Ok::<_, Infallible>(Response::new(CallerBody { early }))
    }));
    let body = service
        .oneshot(request(Some(&token)))
        .await
        .unwrap()
        .into_body();
    let seen = body.collect().await.unwrap().to_bytes();
    assert_eq!(seen, "Some(\"alice\") then None");
    // A stream that needs the caller must keep it.
    with_caller(Some(Caller::Anonymous), async {
        assert!(current_caller().is_some());
    })
    .await;
}

/// The caller when the body was created, and when it is polled.
struct CallerBody {
    early: Option<String>,
}

impl http_body::Body for CallerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let now = subject();
        Poll::Ready(self.early.take().map(|early| {
            let text = format!("{:?} then {now:?}", Some(early));
            Ok(Frame::data(text.into()))
        }))
    }
}
