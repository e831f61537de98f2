//! The target of the attacks: an issuer on loopback, the layers that trust it, and a handler with
//! the body "inner".

use std::fmt::Write;

use axum::body::Body;
use http::{HeaderValue, Request, StatusCode};
use portcullis::{
    Algorithm, Clock, Issuer, JwksCache, JwksSource, JwtAuthLayer, ManualClock, Reason, TestIssuer,
};
use serde_json::{Value, json};

use super::secrets;
use crate::forge::Forge;
pub(crate) use crate::support::{AUDIENCE, Answer, Stack, from, over, request, stack, with};

/// The time of the manual clock when a site opens.
pub(crate) const NOW: u64 = 1_800_000_000;

/// An issuer whose keys are loaded: its own, and one that signs tokens that no correct issuer
/// signs.
pub(crate) struct Site {
    pub(crate) issuer: TestIssuer,
    pub(crate) forge: Forge,
    pub(crate) keys: JwksCache,
    pub(crate) auth: JwtAuthLayer,
    pub(crate) clock: ManualClock,
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

    /// Publishes these keys in addition to its own.
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

    /// The layer over the handler. Checks that a good token passes, because otherwise the rejection
    /// of an attack proves nothing.
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

    /// A header with additional members, as raw JSON.
    pub(crate) fn header(&self, members: &str) -> String {
        format!(r#"{{"alg":"ES256","kid":"forge","typ":"at+jwt"{members}}}"#)
    }

    /// Claims with additional members, as raw JSON.
    pub(crate) fn claims(&self, members: &str) -> String {
        let (iss, exp) = (self.issuer.issuer(), NOW + 300);
        format!(r#"{{"iss":"{iss}","aud":"{AUDIENCE}","sub":"alice","exp":{exp}{members}}}"#)
    }

    /// A token with these additional members and a valid signature.
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

/// Sends a request, and checks that a rejection shows no secret.
pub(crate) async fn send(stack: &Stack, request: Request<Body>) -> Answer {
    secrets::note(&request);
    let answer = crate::support::send(stack, request).await;
    if answer.status != StatusCode::OK {
        secrets::assert_no_secrets(&format!("{:?} {:?}", answer.headers, answer.body));
    }
    answer
}

/// The answer to a request: `200`, or the status and code of the rejection.
pub(crate) async fn attempt(stack: &Stack, request: Request<Body>) -> String {
    let credential = request.headers().get("authorization").cloned();
    let answer = send(stack, request).await;
    let outcome = answer.outcome();
    if answer.status != StatusCode::OK {
        answer.assert_repeats_nothing_of(credential.as_ref());
    }
    outcome
}

/// The answer to a token. Checks that the gRPC answer has the same meaning.
pub(crate) async fn present(stack: &Stack, token: &str) -> String {
    let outcome = attempt(stack, request(Some(token))).await;
    let mut grpc = request(Some(token));
    let content_type = HeaderValue::from_static("application/grpc");
    grpc.headers_mut().insert("content-type", content_type);
    let answer = send(stack, grpc).await;
    match outcome.split_once(' ') {
        None => assert_eq!(answer.body, "inner"),
        Some((_, code)) => {
            let reason = Reason::ALL.iter().find(|reason| reason.code() == code);
            let status = reason.unwrap().grpc_status().to_string();
            assert_eq!(answer.headers["grpc-status"], *status, "{outcome}");
        }
    }
    outcome
}

// === impl Answer ===

impl Answer {
    /// The status and the code. Checks that the challenge is the one of RFC 6750.
    pub(crate) fn outcome(&self) -> String {
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
        let challenged = sent.map(|challenge| {
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            let (_, rest) = challenge.split_once("error=\"")?;
            rest.split_once('"').map(|(error, _)| error)
        });
        assert_eq!(challenged, error, "{code}: {sent:?}");
        format!("{} {code}", self.status.as_u16())
    }

    fn assert_repeats_nothing_of(&self, credential: Option<&HeaderValue>) {
        let mut all = String::new();
        write!(all, "{:?} {:?}", self.headers, self.body).unwrap();
        let credential = credential.and_then(|value| value.to_str().ok());
        for part in credential.unwrap_or_default().split([' ', '.', ',']) {
            assert!(part.len() < 12 || !all.contains(part), "{part} is repeated");
        }
    }
}
