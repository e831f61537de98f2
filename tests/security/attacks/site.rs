//! What is attacked: an issuer on loopback, the layers that trust it, and a handler that says "inner".

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use portcullis::{
    Algorithm, Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, ManualClock, PeerAddr, Reason,
    TestIssuer,
};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::secrets;
use crate::forge::Forge;

/// Any stack of layers over a handler.
pub(crate) type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

pub(crate) const AUDIENCE: &str = "orders-api";
/// When a site opens. Its clocks stand still.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An issuer whose keys are there already: its own, and one that signs what no honest issuer would.
pub(crate) struct Site {
    pub(crate) issuer: TestIssuer,
    pub(crate) forge: Forge,
    pub(crate) keys: JwksCache,
    pub(crate) auth: JwtAuthLayer,
    pub(crate) clock: ManualClock,
}

/// A response that was read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Site ===

impl Site {
    pub(crate) async fn open() -> Self {
        Self::signing_with(Algorithm::ES256).await
    }

    pub(crate) async fn signing_with(algorithm: Algorithm) -> Self {
        let forge = Forge::new();
        Self::publishing(algorithm, [forge.jwk("forge")], forge).await
    }

    /// Publishes these keys next to its own.
    pub(crate) async fn publishing(
        algorithm: Algorithm,
        keys: impl IntoIterator<Item = Value>,
        forge: Forge,
    ) -> Self {
        let clock = ManualClock::at(NOW);
        let issuer = TestIssuer::start_with(algorithm, clock.clone()).await;
        let issuer = issuer.unwrap().with_audience(AUDIENCE);
        let mut set: Value = serde_json::from_str(&issuer.jwks()).unwrap();
        set["keys"].as_array_mut().unwrap().extend(keys);
        issuer.serve_raw(set.to_string());
        let keys = cache(&issuer, &clock);
        keys.warm().await.unwrap();
        let auth = auth(policy(&issuer), &keys, &clock);
        Self {
            issuer,
            forge,
            keys,
            auth,
            clock,
        }
    }

    /// The layer alone, over the handler. A good token passes, or the attacks on it would show nothing.
    pub(crate) async fn stack(&self) -> Stack {
        let stack = stack(self.auth.clone());
        self.admits(&stack).await;
        stack
    }

    pub(crate) async fn admits(&self, stack: &Stack) {
        let good = self.issuer.token("alice").sign();
        assert_eq!(attempt(stack, request(Some(&good))).await, "200", "control");
        let good = self.forged("", "");
        assert_eq!(attempt(stack, request(Some(&good))).await, "200", "control");
    }

    /// A header with more members, written as they are.
    pub(crate) fn header(&self, members: &str) -> String {
        format!(r#"{{"alg":"ES256","kid":"forge","typ":"at+jwt"{members}}}"#)
    }

    /// Claims with more members, written as they are.
    pub(crate) fn claims(&self, members: &str) -> String {
        let (iss, exp) = (self.issuer.issuer(), NOW + 300);
        format!(r#"{{"iss":"{iss}","aud":"{AUDIENCE}","sub":"alice","exp":{exp}{members}}}"#)
    }

    /// A token with these members on top, whose signature holds.
    pub(crate) fn forged(&self, header: &str, claims: &str) -> String {
        self.forge.sign(self.header(header), self.claims(claims))
    }
}

pub(crate) fn cache(issuer: &TestIssuer, clock: &ManualClock) -> JwksCache {
    let source = JwksSource::uri(issuer.issuer(), issuer.jwks_uri()).unwrap();
    JwksCache::new([source.clock(clock.clone())]).unwrap()
}

pub(crate) fn policy(issuer: &TestIssuer) -> Issuer {
    Issuer::new(issuer.issuer()).audience(AUDIENCE)
}

pub(crate) fn auth(policy: Issuer, keys: &JwksCache, clock: &ManualClock) -> JwtAuthLayer {
    JwtAuthLayer::new([policy.with_keys(keys.clone())])
        .unwrap()
        .clock(Clock::from(clock.clone()))
}

/// Layers over the handler that says "inner".
pub(crate) fn stack<L>(layer: L) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request<Body>, Response: axum::response::IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    over(layer, |_| "inner".to_owned())
}

/// Layers over a handler that tells something of the request that reached it.
pub(crate) fn over<L>(layer: L, tell: fn(Request<Body>) -> String) -> Stack
where
    L: Layer<Stack>,
    L::Service: Service<Request<Body>, Response: axum::response::IntoResponse, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
{
    let handler = BoxCloneSyncService::new(service_fn(move |request| async move {
        Ok::<_, Infallible>(Response::new(Body::from(tell(request))))
    }));
    let service = layer.layer(handler);
    BoxCloneSyncService::new(service.map_response(axum::response::IntoResponse::into_response))
}

pub(crate) fn request(token: Option<&str>) -> Request<Body> {
    match token {
        None => with(&[]),
        Some(token) => with(&[("authorization", &format!("Bearer {token}"))]),
    }
}

/// A request with these headers, whatever bytes they hold.
pub(crate) fn with(headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get("/orders").body(Body::empty()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(name, value);
    }
    from(request, "203.0.113.7:4711")
}

/// The request, as it comes from this address.
pub(crate) fn from(mut request: Request<Body>, peer: &str) -> Request<Body> {
    let peer: SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

pub(crate) async fn send(stack: &Stack, request: Request<Body>) -> Answer {
    secrets::note(&request);
    let response = stack.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    };
    if answer.status != StatusCode::OK {
        secrets::assert_told_nothing(&format!("{:?} {:?}", answer.headers, answer.body));
    }
    answer
}

/// What a request is answered: `200`, or a refusal's status and code.
pub(crate) async fn attempt(stack: &Stack, request: Request<Body>) -> String {
    let credential = request.headers().get("authorization").cloned();
    let answer = send(stack, request).await;
    let told = answer.told();
    if answer.status != StatusCode::OK {
        answer.repeats_nothing_of(credential.as_ref());
    }
    told
}

/// What a token is answered. Over gRPC the answer is the same.
pub(crate) async fn present(stack: &Stack, token: &str) -> String {
    let told = attempt(stack, request(Some(token))).await;
    let mut grpc = request(Some(token));
    let content_type = HeaderValue::from_static("application/grpc");
    grpc.headers_mut().insert("content-type", content_type);
    let answer = send(stack, grpc).await;
    match told.split_once(' ') {
        None => assert_eq!(answer.body, "inner"),
        Some((_, code)) => {
            let reason = Reason::ALL.iter().find(|reason| reason.code() == code);
            let status = reason.unwrap().grpc_status().to_string();
            assert_eq!(answer.headers["grpc-status"], *status, "{told}");
        }
    }
    told
}

// === impl Answer ===

impl Answer {
    /// The status and the code. What RFC 6750 has the challenge say, it says.
    pub(crate) fn told(&self) -> String {
        if self.status == StatusCode::OK {
            return "200".to_owned();
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let code = body["code"].as_str().unwrap();
        assert_eq!(body["status"], json!(self.status.as_u16()));
        let error = match (self.status.as_u16(), code) {
            (401, "missing_token") => Some(None),
            (401, _) => Some(Some("invalid_token")),
            (400 | 403, code) => Some(Some(code)),
            _ => None,
        };
        let sent = self.headers.get("www-authenticate");
        let sent = sent.map(|value| value.to_str().unwrap());
        let said = sent.map(|challenge| {
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            let (_, rest) = challenge.split_once("error=\"")?;
            rest.split_once('"').map(|(error, _)| error)
        });
        assert_eq!(said, error, "{code}: {sent:?}");
        format!("{} {code}", self.status.as_u16())
    }

    fn repeats_nothing_of(&self, credential: Option<&HeaderValue>) {
        let mut all = String::new();
        write!(all, "{:?} {:?}", self.headers, self.body).unwrap();
        let credential = credential.and_then(|value| value.to_str().ok());
        for part in credential.unwrap_or_default().split([' ', '.', ',']) {
            assert!(part.len() < 12 || !all.contains(part), "{part} is repeated");
        }
    }
}
