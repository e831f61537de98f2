//! Why a request was rejected: one table of reasons, with the HTTP and the gRPC status side by side.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::protocol::Protocol;
use crate::stage::Stage;

/// The gRPC status codes of the table.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Grpc {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The `error` of a challenge (RFC 6750 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// No `WWW-Authenticate`.
    None,
    /// A challenge without an error: the request had no credentials.
    Plain,
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
    /// RFC 9470 section 3.
    InsufficientUserAuthentication,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident $code:literal $status:ident $grpc:ident $challenge:ident $detail:literal)*) => {
        /// Why a request was rejected.
        ///
        /// Each reason has a code, an HTTP status, a gRPC status and a fixed text. Nothing of the
        /// request is echoed. `Display` writes the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[doc(alias = "401", alias = "403", alias = "429", alias = "503")]
        #[doc(alias = "unauthorized", alias = "forbidden")]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)*
            /// A reason of the application. See [`CustomReason`].
            Custom(&'static CustomReason),
        }

        impl Reason {
            /// Every reason of this crate, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        status: StatusCode::$status,
                        grpc: Grpc::$grpc as u8,
                        challenge: Challenge::$challenge,
                        detail: $detail,
                    },)*
                    Self::Custom(reason) => Row {
                        code: reason.code,
                        status: reason.status,
                        grpc: reason.grpc,
                        challenge: Challenge::None,
                        detail: reason.detail,
                    },
                }
            }
        }
    };
}

#[rustfmt::skip]
reasons! {
    // reason             code                     HTTP                  gRPC              challenge          fixed text
    /// The request has no credentials.
    MissingToken         "missing_token"          UNAUTHORIZED          Unauthenticated   Plain             "credentials are required"
    /// The request has two tokens, or a malformed credential.
    InvalidRequest       "invalid_request"        BAD_REQUEST           InvalidArgument   InvalidRequest    "the credentials are malformed or given more than once"
    /// The token is longer than `max_token_bytes`.
    TokenTooLarge        "token_too_large"        UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is too large"
    /// The token is not a signed JWT in compact form.
    MalformedToken       "malformed_token"        UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is malformed"
    /// The token's algorithm is not allowed.
    AlgorithmNotAllowed  "algorithm_not_allowed"  UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's algorithm is not allowed"
    /// The issuer has no key for the token.
    UnknownKey           "unknown_key"            UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's key is not known"
    /// The signature is wrong.
    BadSignature         "bad_signature"          UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's signature is wrong"
    /// The token has expired (`exp`).
    Expired              "expired"                UNAUTHORIZED          Unauthenticated   InvalidToken      "the token has expired"
    /// The token is not valid yet (`nbf`, `iat`).
    NotYetValid          "not_yet_valid"          UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is not valid yet"
    /// The token's issuer is not accepted (`iss`).
    WrongIssuer          "wrong_issuer"           UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's issuer is not accepted"
    /// The token is meant for another audience (`aud`).
    WrongAudience        "wrong_audience"         UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is meant for another audience"
    /// The token is of another type (`typ`).
    WrongType            "wrong_type"             UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is of the wrong type"
    /// A claim is missing, has the wrong type, or cannot be sent upstream safely.
    InvalidClaim         "invalid_claim"          UNAUTHORIZED          Unauthenticated   InvalidToken      "a claim of the token is missing or invalid"
    /// The token, its subject, session, client or key was revoked.
    Revoked              "revoked"                UNAUTHORIZED          Unauthenticated   InvalidToken      "the token was revoked"
    /// The caller is authenticated but does not satisfy the rule for the request.
    InsufficientScope    "insufficient_scope"     FORBIDDEN             PermissionDenied  InsufficientScope "the caller does not satisfy the rule for this request"
    /// The caller must log in again: with another method, or more recently.
    InsufficientUserAuthentication "insufficient_user_authentication" UNAUTHORIZED Unauthenticated InsufficientUserAuthentication "another or a more recent login is required"
    /// The caller has used up a quota.
    RateLimited          "rate_limited"           TOO_MANY_REQUESTS     ResourceExhausted None              "too many requests"
    /// The keys of the token's issuer could not be fetched.
    KeysUnavailable      "keys_unavailable"       SERVICE_UNAVAILABLE   Unavailable       None              "the keys of the token's issuer are unavailable"
    /// A shared store did not answer.
    StoreUnavailable     "store_unavailable"      SERVICE_UNAVAILABLE   Unavailable       None              "a store is unavailable"
    /// A layer is missing or misconfigured. The log names the fix.
    NotConfigured        "not_configured"         INTERNAL_SERVER_ERROR Internal          None              "the service is not configured"
    /// The route does not accept the method.
    MethodNotAllowed     "method_not_allowed"     METHOD_NOT_ALLOWED    Unimplemented     None              "the method is not allowed here"
}

struct Row {
    code: &'static str,
    status: StatusCode,
    grpc: u8,
    challenge: Challenge,
    detail: &'static str,
}

/// A reason of the application, rendered as those of this crate are.
///
/// ```
/// use http::StatusCode;
/// use portcullis::{CustomReason, Protocol, Rejection};
///
/// const UNPAID: CustomReason = CustomReason::new(
///     StatusCode::PAYMENT_REQUIRED,
///     "unpaid",
///     9, // FAILED_PRECONDITION
///     "the subscription has ended",
/// );
///
/// let response = Rejection::custom(&UNPAID).render::<String>(Protocol::Http);
/// assert_eq!(response.status(), 402);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CustomReason {
    status: StatusCode,
    code: &'static str,
    grpc: u8,
    detail: &'static str,
}

/// A request that is not passed on: the reason, and what the response says beyond the reason's text.
///
/// The layers of this crate put it into the extensions of the response that they render, so that an
/// outer layer can count it or render it in another form ([`OnRejectionLayer`](crate::OnRejectionLayer)).
/// It is an `Error`, whose text is safe to show to clients.
///
/// ```
/// use portcullis::{Reason, Rejection};
///
/// let rejection = Rejection::new(Reason::Expired);
/// assert_eq!(rejection.reason().code(), "expired");
/// assert_eq!(rejection.reason().status(), 401);
/// assert_eq!(rejection.to_string(), "the token has expired");
/// ```
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    stage: Stage,
    protocol: Protocol,
    // Boxed, because every decision returns a `Result` with a rejection, and most have no details.
    details: Option<Box<Details>>,
}

/// What a response says beyond the reason's fixed text: configured words, nothing of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) realm: Option<Arc<str>>,
    /// For the body: what would have been enough.
    pub(crate) required: Option<Arc<str>>,
    /// For the challenge: the scopes that would have been enough.
    pub(crate) scope: Option<Arc<str>>,
    /// For the challenge: the ways to log in that would have been enough.
    pub(crate) acr_values: Option<Arc<str>>,
    /// For the challenge: the maximum age of the login in seconds.
    pub(crate) max_age: Option<u64>,
    /// For the log: what the caller lacked.
    pub(crate) missing: Option<Arc<str>>,
    /// For the log: the rule that decided.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) retry_after: Option<Duration>,
    /// The names of the exceeded quotas.
    pub(crate) violated: Vec<Arc<str>>,
    /// For metrics: where a rate limit's answer comes from.
    pub(crate) source: Option<&'static str>,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    /// For the log: the configured claim that failed.
    pub(crate) claim: Option<Arc<str>>,
    /// For the log: why the claim failed, without its value.
    pub(crate) error: Option<Arc<str>>,
    /// For the log: what to change in the setup.
    pub(crate) fix: Option<&'static str>,
}

// === impl Reason ===

impl Reason {
    /// The stable name of this reason, for response bodies, metrics and events.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// The gRPC status code.
    #[must_use]
    pub const fn grpc_status(self) -> u8 {
        self.row().grpc
    }

    /// The fixed text for clients.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        self.row().detail
    }

    /// Whether the request had a token, and the token is not valid.
    pub(crate) fn is_invalid_token(self) -> bool {
        self.challenge() == Challenge::InvalidToken
    }

    pub(crate) const fn challenge(self) -> Challenge {
        self.row().challenge
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl From<&'static CustomReason> for Reason {
    fn from(reason: &'static CustomReason) -> Self {
        Self::Custom(reason)
    }
}

// === impl CustomReason ===

impl CustomReason {
    /// A reason with an HTTP status, a code such as `unpaid`, a gRPC status (1 to 16; any other
    /// number becomes 2, UNKNOWN) and a text for clients.
    #[must_use]
    pub const fn new(
        status: StatusCode,
        code: &'static str,
        grpc_status: u8,
        detail: &'static str,
    ) -> Self {
        let grpc = match grpc_status {
            1..=16 => grpc_status,
            _ => 2,
        };
        Self {
            status,
            code,
            grpc,
            detail,
        }
    }
}

// === impl Rejection ===

impl Rejection {
    /// A rejection for this reason, by the [application](Stage::Application).
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            stage: Stage::Application,
            protocol: Protocol::Http,
            details: None,
        }
    }

    /// A rejection for a reason of the application. See [`CustomReason`] for an example.
    #[must_use]
    pub const fn custom(reason: &'static CustomReason) -> Self {
        Self::new(Reason::Custom(reason))
    }

    /// A rejection of the method, with the methods of the route in `Allow` (RFC 9110 section 15.5.6).
    ///
    /// ```
    /// use http::Method;
    /// use portcullis::{Protocol, Rejection};
    ///
    /// let rejection = Rejection::method_not_allowed(&[Method::GET, Method::HEAD]);
    /// let response = rejection.render::<String>(Protocol::Http);
    /// assert_eq!(response.status(), 405);
    /// assert_eq!(response.headers()["allow"], "GET, HEAD");
    /// ```
    #[must_use]
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let list: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        let rejection = Self::new(Reason::MethodNotAllowed);
        match HeaderValue::try_from(list.join(", ")) {
            Ok(value) => rejection.with_header(ALLOW, value),
            Err(_) => rejection,
        }
    }

    /// A misconfiguration. `fix` goes to the log, never to the client.
    pub(crate) fn misconfigured(fix: &'static str) -> Self {
        let mut rejection = Self::new(Reason::NotConfigured);
        rejection.details_mut().fix = Some(fix);
        rejection
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.details_mut().fields.push((name, value));
        self
    }

    /// Adds `Retry-After`, rounded up to whole seconds.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{Protocol, Reason, Rejection};
    ///
    /// let busy = Rejection::new(Reason::StoreUnavailable).with_retry_after(Duration::from_millis(1_200));
    /// assert_eq!(busy.render::<String>(Protocol::Http).headers()["retry-after"], "2");
    /// ```
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.details_mut().retry_after = Some(after);
        self
    }

    pub(crate) fn with_realm(mut self, realm: &Arc<str>) -> Self {
        self.details_mut().realm = Some(Arc::clone(realm));
        self
    }

    /// Names the claim that failed, and why, for the log. `error` must not contain the claim's value.
    #[allow(dead_code)]
    pub(crate) fn with_claim(mut self, claim: impl Into<Arc<str>>, error: Option<String>) -> Self {
        let details = self.details_mut();
        details.claim = Some(claim.into());
        details.error = error.map(Into::into);
        self
    }

    pub(crate) fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    pub(crate) fn answering(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// The reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The layer, extractor or handler that made this rejection.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The protocol of the request, once the rejection is rendered for one.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What would have been enough, if the caller lacks a right.
    #[must_use]
    pub fn required(&self) -> Option<&str> {
        self.details()?.required.as_deref()
    }

    /// The time after which a new attempt may succeed, if it is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.details()?.retry_after
    }

    /// The names of the quotas that are used up, if a rate limit rejects the request.
    pub fn violated_policies(&self) -> impl Iterator<Item = &str> {
        let names = self.details().map(|details| details.violated.iter());
        names.into_iter().flatten().map(|name| &**name)
    }

    pub(crate) fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    pub(crate) fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }
}

/// Writes the reason's text for clients.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.reason.detail())
    }
}

impl Error for Rejection {}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl From<&'static CustomReason> for Rejection {
    fn from(reason: &'static CustomReason) -> Self {
        Self::custom(reason)
    }
}
