//! For axum: extractors for the caller and its claims, and [`GuardedRouter`].

mod router;
mod shape;

use std::ops::Deref;
use std::sync::Arc;

use ::axum::body::Body;
use ::axum::extract::{FromRequestParts, OptionalFromRequestParts};
use ::axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::decision::Mode;
use crate::identity::{Caller, Identity};
use crate::observe::{self, Description, RequestView, Stopwatch};
use crate::protocol::Protocol;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

pub use router::GuardedRouter;

/// The verified claims of the caller, deserialized into an application type for a handler argument.
///
/// * An anonymous caller is rejected with 401. `Option<Claims<T>>` is `None` for anonymous callers.
/// * If the claims do not fit the type, the request is rejected with 500 `not_configured`. The
///   token is valid, so a new login would not help: the type must fit the tokens of the issuer. The
///   log names the field and the problem, and never contains a value of the token.
///
/// Declare a claim that a token may lack as `Option`. To require it, use
/// [`Rule::claim`](crate::Rule::claim), which rejects callers without the claim with 403. A handler
/// that takes `Result<Claims<T>, Rejection>` receives the rejection.
///
/// ```
/// use portcullis::Claims;
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Mine {
///     tenant: String,
/// }
///
/// async fn handler(claims: Claims<Mine>) -> String {
///     format!("hello {}", claims.tenant)
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Debug)]
pub struct Claims<T>(pub Arc<T>);

/// A clone shares the claims, whether or not `T` is `Clone`.
impl<T> Clone for Claims<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Claims<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The verified caller. An anonymous caller is rejected with 401.
impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Rejection> {
        match caller(parts).map_err(|rejection| reject(parts, rejection))? {
            Caller::Verified(identity) => Ok(identity),
            Caller::Anonymous => Err(reject(parts, Reason::MissingToken.into())),
        }
    }
}

/// The caller behind an optional `JwtAuthLayer`. `None` is an anonymous caller, never an invalid
/// token.
impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Rejection> {
        let caller = caller(parts).map_err(|rejection| reject(parts, rejection))?;
        Ok(caller.identity().cloned())
    }
}

impl<T, S> FromRequestParts<S> for Claims<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Rejection> {
        let identity = <Identity as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        identity
            .claims()
            .map(Self)
            .map_err(|_| reject(parts, misfit::<T>(&identity)))
    }
}

impl<T, S> OptionalFromRequestParts<S> for Claims<T>
where
    T: DeserializeOwned + Send + Sync + 'static,
    S: Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        match caller(parts).map_err(|rejection| reject(parts, rejection))? {
            Caller::Anonymous => Ok(None),
            Caller::Verified(_) => {
                let claims = <Self as FromRequestParts<S>>::from_request_parts(parts, state);
                claims.await.map(Some)
            }
        }
    }
}

/// Renders a rejection of a layer or an extractor for the protocol of its request. A rejection that
/// a handler creates is rendered for HTTP; for another protocol, use [`render`](Rejection::render).
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let protocol = self.protocol();
        self.render::<Body>(protocol).map(Body::new)
    }
}

fn caller(parts: &Parts) -> Result<Caller, Rejection> {
    Caller::of(&parts.extensions).cloned().ok_or_else(|| {
        Rejection::misconfigured("an extractor found no caller: put JwtAuthLayer above the handler")
    })
}

/// The claims of a valid token do not fit the type of the service.
fn misfit<T: DeserializeOwned>(caller: &Identity) -> Rejection {
    let claims = caller.claims::<Value>().unwrap_or_default();
    let misfit = shape::explain::<T>(&claims);
    let fix =
        "make the type of `Claims<T>` fit the tokens: use `Option` for a claim that may be missing";
    Rejection::misconfigured(fix).with_claim(misfit.field(), Some(misfit.into_problem()))
}

fn reject(parts: &Parts, rejection: Rejection) -> Rejection {
    let protocol = Protocol::new(&parts.method, &parts.headers);
    let rejection = rejection.at(Stage::Extractor).answering(protocol);
    observe::report(
        Stage::Extractor,
        Description {
            policy: "extractor",
            mode: Mode::Enforce.as_str(),
            rule: None,
            source: "",
            has_caller: true,
            metrics: None,
        },
        Some(&rejection),
        RequestView::of_parts(parts),
        Stopwatch::start(false, &parts.extensions),
    );
    rejection
}
