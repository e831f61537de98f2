//! An issuer, the stack that trusts it, and the tokens that clients send.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::{Body, to_bytes};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::FutureExt;
use http::{Request, Response};
use portcullis::test_util::TestToken;
use portcullis::{Algorithm, Issuer, JwksCache, JwksSource, JwtAuthLayer, ManualClock, TestIssuer};
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::faults::{Fault, Forger, START};
use super::replies::{Keys, METADATA, Page, SECRET};
use super::site::Site;

const AUDIENCE: &str = "orders-api";
/// Tokens outlive every fault, so only keys can expire.
const LONG: Duration = Duration::from_secs(100 * 366 * 86_400);

pub(super) struct Scene {
    pub(super) site: Site,
    pub(super) elsewhere: Site,
    pub(super) clock: ManualClock,
    cache: JwksCache,
    stack: BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>,
    old: TestIssuer,
    new: TestIssuer,
    leaked: TestIssuer,
    forger: Forger,
    sent: AtomicUsize,
}

impl Scene {
    pub(super) async fn start(fault: &Fault) -> Self {
        let (site, elsewhere) = (Site::start(), Site::start());
        let clock = ManualClock::at(START);
        let origin = site.origin();
        let source = if fault.is_discovered {
            JwksSource::discover(&origin)
        } else {
            JwksSource::uri(&origin, format!("{origin}/keys"))
        };
        let source = source
            .unwrap()
            .timeout(fault.timeout)
            .cooldown(fault.cooldown)
            .clock(clock.clone());
        let cache = JwksCache::new([source]).unwrap();
        let auth = JwtAuthLayer::new([Issuer::new(&origin).audience(AUDIENCE)])
            .unwrap()
            .with_keys(cache.clone())
            .unwrap()
            .clock(clock.clone());
        let inner = service_fn(|_: Request<Body>| async { Ok(Response::new(Body::empty())) });
        let signer = || TestIssuer::start_with(Algorithm::ES256, clock.clone());
        Self {
            stack: BoxCloneSyncService::new(auth.layer(inner).map_response(|r| r.map(Body::new))),
            old: signer().await.unwrap(),
            new: signer().await.unwrap(),
            leaked: signer().await.unwrap(),
            forger: fault.forger,
            sent: AtomicUsize::new(0),
            cache,
            site,
            elsewhere,
            clock,
        }
    }

    /// Publishes this from now on.
    pub(super) fn publish(&self, at_keys: Page, at_metadata: Page) {
        let keys = Keys {
            origin: self.site.origin(),
            elsewhere: self.elsewhere.origin(),
            old: jwk(&self.old),
            new: jwk(&self.new),
            leaked: jwk(&self.leaked),
        };
        self.site
            .answer(move |request| match request.path.as_str() {
                METADATA => at_metadata(&keys, request),
                _ => at_keys(&keys, request),
            });
    }

    /// A valid token of the old key.
    pub(super) fn known_token(&self) -> String {
        self.of(&self.old).sign()
    }

    /// A valid token of the new key.
    pub(super) fn new_token(&self) -> String {
        self.of(&self.new).sign()
    }

    /// A token with a kid that was never published.
    pub(super) fn unknown_token(&self) -> String {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let kid = format!("unknown-{number}");
        self.of(&self.old).kid(&kid).sign()
    }

    pub(super) fn forged_token(&self) -> String {
        match self.forger {
            Forger::Stranger => self.of(&self.old).signed_by_stranger().sign(),
            Forger::Thief => self.of(&self.leaked).sign(),
            Forger::Secret => self.hs256(),
        }
    }

    /// Starts a fetch that fails, so that the longest backoff begins.
    pub(super) async fn fail_once_more(&self) {
        assert!(self.cache.warm().await.is_err());
    }

    /// The error of the last fetch.
    pub(super) fn error(&self) -> Option<&'static str> {
        self.cache.status()[0].last_error
    }

    /// Gives a fetch in the background time to make progress.
    pub(super) async fn make_progress(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn of(&self, signer: &TestIssuer) -> TestToken {
        let token = signer.token("alice").issued_by(&self.site.origin());
        token.audience(AUDIENCE).without("iat").expires_in(LONG)
    }

    fn hs256(&self) -> String {
        let header = BASE64.encode(r#"{"alg":"HS256","kid":"secret","typ":"at+jwt"}"#);
        let claims = json!({"iss": self.site.origin(), "aud": AUDIENCE, "sub": "alice", "exp": 4_000_000_000_u64});
        let signed = format!("{header}.{}", BASE64.encode(claims.to_string()));
        let tag = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &SECRET),
            signed.as_bytes(),
        );
        format!("{signed}.{}", BASE64.encode(tag))
    }

    /// The response to a client: the status and the code of a rejection.
    pub(super) async fn send(&self, token: &str) -> String {
        let request = Request::get("/orders").header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        let response = self.stack.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").cloned();
        assert_eq!(retry_after.is_some(), status == 503, "{retry_after:?}");
        assert!(retry_after.is_none_or(|seconds| seconds != "0"));
        let body = to_bytes(response.into_body(), 64 * 1024).await.unwrap();
        if status == 200 {
            return status.to_string();
        }
        let problem: Value = serde_json::from_slice(&body).unwrap();
        format!("{status} {}", problem["code"].as_str().unwrap())
    }

    /// The response, if it is ready at the first poll: no other task runs before.
    pub(super) fn send_now(&self, token: &str) -> Option<String> {
        self.send(token).now_or_never()
    }
}

fn jwk(issuer: &TestIssuer) -> Value {
    let mut set: Value = serde_json::from_str(&issuer.jwks()).unwrap();
    set["keys"][0].take()
}
