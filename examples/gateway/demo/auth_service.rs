//! An auth service: knows two users, signs their tokens, publishes its keys and rotates them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis::issue::IssueError;
use portcullis::{Algorithm, Clock, KeyRing};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Signs tokens for one audience.
#[derive(Clone)]
pub(super) struct AuthService(Arc<Service>);

struct Service {
    ring: KeyRing,
    issuer: String,
    audience: &'static str,
    started: u64,
    tokens: AtomicU64,
}

struct User {
    name: &'static str,
    /// In plain text, because this is a demonstration. A real service stores a slow hash or asks a
    /// directory.
    password: &'static str,
    roles: &'static [&'static str],
    scope: &'static str,
}

pub(super) const ALICE: (&str, &str) = ("alice", "wonderland");
pub(super) const BOB: (&str, &str) = ("bob", "builder");

const USERS: [User; 2] = [
    User {
        name: ALICE.0,
        password: ALICE.1,
        roles: &["admin"],
        scope: "orders:read orders:write",
    },
    User {
        name: BOB.0,
        password: BOB.1,
        roles: &["reader"],
        scope: "orders:read",
    },
];

/// Short, because a stolen token is valid until it expires.
const LIFE_SECONDS: u64 = 300;

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

/// The claims of an access token (RFC 9068 section 2.2).
#[derive(Serialize)]
struct AccessToken<'s> {
    iss: &'s str,
    sub: &'s str,
    aud: &'s str,
    iat: u64,
    exp: u64,
    jti: String,
    roles: &'s [&'s str],
    scope: &'s str,
}

/// The key ring failed. The client does not learn why.
struct Failure(IssueError);

// === impl AuthService ===

impl AuthService {
    pub(super) fn new(issuer: &str, audience: &'static str) -> Result<Self, IssueError> {
        Ok(Self(Arc::new(Service {
            ring: KeyRing::generate(Algorithm::ES256)?,
            issuer: issuer.to_owned(),
            audience,
            started: Clock::System.unix_time().as_secs(),
            tokens: AtomicU64::new(0),
        })))
    }

    /// The public part is below `/auth`. The endpoints that change keys are not, so the gateway
    /// does not expose them.
    pub(super) fn router(self) -> Router {
        let public = Router::new()
            .route("/login", post(login))
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/.well-known/jwks.json", get(jwks));
        Router::new()
            .nest("/auth", public)
            .route("/rotate", post(rotate))
            .route("/retire", post(retire))
            .with_state(self)
    }

    fn token(&self, user: &User) -> Result<String, IssueError> {
        let service = &self.0;
        let now = Clock::System.unix_time().as_secs();
        let number = service.tokens.fetch_add(1, Ordering::Relaxed);
        service.ring.sign(&AccessToken {
            iss: &service.issuer,
            sub: user.name,
            aud: service.audience,
            iat: now,
            exp: now + LIFE_SECONDS,
            jti: format!("{}-{number}", service.started),
            roles: user.roles,
            scope: user.scope,
        })
    }
}

/// Answers with JSON as in OAuth 2.0, or with the bare token if the client accepts only plain text.
async fn login(
    State(service): State<AuthService>,
    headers: HeaderMap,
    Json(login): Json<Login>,
) -> Result<Response, Failure> {
    let known = |user: &&User| user.name == login.user && user.password == login.password;
    let Some(user) = USERS.iter().find(known) else {
        return Ok((StatusCode::UNAUTHORIZED, "wrong user or password\n").into_response());
    };
    let token = service.token(user)?;
    let no_store = [(CACHE_CONTROL, "no-store")];
    let accept = headers.get(ACCEPT).map(|accept| accept.as_bytes());
    if accept.is_some_and(|accept| accept.starts_with(b"text/plain")) {
        return Ok((no_store, token + "\n").into_response());
    }
    let answer = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": LIFE_SECONDS,
    });
    Ok((no_store, Json(answer)).into_response())
}

/// OpenID Connect Discovery metadata, reduced to what a verifier needs.
async fn metadata(State(service): State<AuthService>) -> Json<Value> {
    let issuer = &service.0.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
    }))
}

async fn jwks(State(service): State<AuthService>) -> Response {
    let headers = [
        (CONTENT_TYPE, "application/jwk-set+json"),
        (CACHE_CONTROL, "max-age=1"),
    ];
    (headers, service.0.ring.jwks()).into_response()
}

/// Signs with a new key from now on. Verifiers fetch it when they first see its key ID.
async fn rotate(State(service): State<AuthService>) -> Result<String, Failure> {
    let old = service.0.ring.rotate(Algorithm::ES256)?;
    let new = service.0.ring.signing_kid();
    Ok(format!("{new} signs, {old} is still published\n"))
}

/// Withdraws every key that no longer signs, even if its tokens have not expired.
async fn retire(State(service): State<AuthService>) -> Result<String, Failure> {
    let ring = &service.0.ring;
    let signing = ring.signing_kid();
    for kid in ring.kids().iter().filter(|kid| **kid != signing) {
        ring.retire(kid)?;
    }
    Ok(format!("{signing} is the only key\n"))
}

// === impl Failure ===

impl From<IssueError> for Failure {
    fn from(error: IssueError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "the key ring failed");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
