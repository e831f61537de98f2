//! Why a request was refused: one table of reasons, with the HTTP and the gRPC answer side by side.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// A gRPC status code (the `grpc-status` of a response).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Grpc {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// What the answer says about the credentials (RFC 6750 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// No `WWW-Authenticate`.
    None,
    /// A challenge without an error: the request bore no credentials.
    Plain,
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
    /// RFC 9470 section 3.
    InsufficientUserAuthentication,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident $code:literal $status:ident $grpc:ident $challenge:ident $detail:literal)*) => {
        /// Why a request was refused.
        ///
        /// The texts are fixed: nothing of the request is ever echoed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        code: $code,
                        status: StatusCode::$status,
                        grpc: Grpc::$grpc,
                        challenge: Challenge::$challenge,
                        detail: $detail,
                    },)*
                }
            }
        }
    };
}

#[rustfmt::skip]
reasons! {
    // reason             code                     HTTP                  gRPC              challenge          fixed text
    /// No credentials.
    MissingToken         "missing_token"          UNAUTHORIZED          Unauthenticated   Plain             "credentials are required"
    /// Two tokens, or a credential that is not one.
    InvalidRequest       "invalid_request"        BAD_REQUEST           InvalidArgument   InvalidRequest    "the credentials are malformed or given more than once"
    /// The token is longer than the service reads.
    TokenTooLarge        "token_too_large"        UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is too large"
    /// The token is not a signed JWT in compact form.
    MalformedToken       "malformed_token"        UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is malformed"
    /// The token's algorithm is not accepted.
    AlgorithmNotAllowed  "algorithm_not_allowed"  UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's algorithm is not allowed"
    /// No key of the issuer fits the token.
    UnknownKey           "unknown_key"            UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's key is not known"
    /// The signature does not hold.
    BadSignature         "bad_signature"          UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's signature is wrong"
    /// The token has ended (`exp`).
    Expired              "expired"                UNAUTHORIZED          Unauthenticated   InvalidToken      "the token has expired"
    /// The token is not valid yet (`nbf`, `iat`).
    NotYetValid          "not_yet_valid"          UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is not valid yet"
    /// The token comes from an issuer that is not accepted (`iss`).
    WrongIssuer          "wrong_issuer"           UNAUTHORIZED          Unauthenticated   InvalidToken      "the token's issuer is not accepted"
    /// The token is meant for somebody else (`aud`).
    WrongAudience        "wrong_audience"         UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is meant for another audience"
    /// The token is of another type (`typ`).
    WrongType            "wrong_type"             UNAUTHORIZED          Unauthenticated   InvalidToken      "the token is of the wrong type"
    /// A claim is missing, of the wrong type, or holds what could not be passed on safely.
    InvalidClaim         "invalid_claim"          UNAUTHORIZED          Unauthenticated   InvalidToken      "a claim of the token is missing or invalid"
    /// The token, its subject, session, client or key was revoked.
    Revoked              "revoked"                UNAUTHORIZED          Unauthenticated   InvalidToken      "the token was revoked"
    /// The caller is known and lacks a role, scope or permission.
    InsufficientScope    "insufficient_scope"     FORBIDDEN             PermissionDenied  InsufficientScope "the caller lacks a role, scope or permission"
    /// The caller is known and must log in again, another way or more recently.
    InsufficientUserAuthentication "insufficient_user_authentication" UNAUTHORIZED Unauthenticated InsufficientUserAuthentication "another or a more recent login is required"
    /// The caller has used up a quota.
    RateLimited          "rate_limited"           TOO_MANY_REQUESTS     ResourceExhausted None              "too many requests"
    /// The issuer's keys could not be fetched: our outage, not the caller's fault.
    KeysUnavailable      "keys_unavailable"       SERVICE_UNAVAILABLE   Unavailable       None              "the keys of the token's issuer are unavailable"
    /// A store that must be asked could not be: our outage, not the caller's fault.
    StoreUnavailable     "store_unavailable"      SERVICE_UNAVAILABLE   Unavailable       None              "a store is unavailable"
    /// The service is not set up to decide. The log names the fix.
    NotConfigured        "not_configured"         INTERNAL_SERVER_ERROR Internal          None              "the service is not configured"
    /// A gateway cannot route a path that it could read in two ways.
    BadPath              "bad_path"               BAD_REQUEST           InvalidArgument   None              "the path is ambiguous"
    /// A gateway has no route for the path.
    NoRoute              "no_route"               NOT_FOUND             Unimplemented     None              "no route for this path"
    /// A gateway's route does not take the method.
    MethodNotAllowed     "method_not_allowed"     METHOD_NOT_ALLOWED    Unimplemented     None              "the method is not allowed here"
    /// The body is larger than a gateway passes on.
    BodyTooLarge         "body_too_large"         PAYLOAD_TOO_LARGE     ResourceExhausted None              "the body is too large"
    /// A gateway could not reach the upstream service.
    UpstreamUnreachable  "upstream_unreachable"   BAD_GATEWAY           Unavailable       None              "the upstream service cannot be reached"
    /// The upstream service did not answer in time.
    UpstreamTimeout      "upstream_timeout"       GATEWAY_TIMEOUT       DeadlineExceeded  None              "the upstream service did not answer in time"
    /// A gateway does not pass protocol upgrades on.
    UpgradeNotSupported  "upgrade_not_supported"  NOT_IMPLEMENTED       Unimplemented     None              "protocol upgrades are not supported"
}

struct Row {
    code: &'static str,
    status: StatusCode,
    grpc: Grpc,
    challenge: Challenge,
    detail: &'static str,
}

/// A refusal: the reason, and what the answer says beyond the reason's fixed text.
///
/// It stands in the extensions of the response that it made, so that an outer layer can count it or render it anew.
///
/// ```
/// # use portcullis::{Reason, Rejection};
/// let rejection = Rejection::new(Reason::NoRoute);
/// assert_eq!(rejection.reason().code(), "no_route");
/// assert_eq!(rejection.reason().status(), 404);
/// ```
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: Reason,
    // Boxed, because every decision returns a `Result` with a rejection in it and most have no details.
    details: Option<Box<Details>>,
}

/// What an answer says beyond the reason's fixed text. Configured words only, nothing of the request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) realm: Option<Arc<str>>,
    /// What would have been enough, for the body.
    pub(crate) required: Option<Arc<str>>,
    /// The scopes that would have been enough, for the challenge.
    pub(crate) scope: Option<Arc<str>>,
    /// The ways to log in that would have been enough, for the challenge.
    pub(crate) acr_values: Option<Arc<str>>,
    /// In seconds, for the challenge: how long ago a login may be.
    pub(crate) max_age: Option<u64>,
    /// For the log alone: what the caller lacked.
    pub(crate) missing: Option<Arc<str>>,
    /// For the log alone: the rule that was asked.
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) retry_after: Option<Duration>,
    /// The names of the quotas that are used up.
    pub(crate) violated: Vec<Arc<str>>,
    /// For metrics alone: where a limit's answer comes from.
    pub(crate) source: Option<&'static str>,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    /// For the log alone: what to change.
    pub(crate) fix: Option<&'static str>,
}

// === impl Reason ===

impl Reason {
    /// The stable name of this reason, for bodies, metrics and events.
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
        self.row().grpc as u8
    }

    /// The fixed text that a client may see.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        self.row().detail
    }

    /// Whether the request bore a token, and the token does not hold.
    pub(crate) fn is_invalid_token(self) -> bool {
        self.challenge() == Challenge::InvalidToken
    }

    pub(crate) const fn challenge(self) -> Challenge {
        self.row().challenge
    }
}

// === impl Rejection ===

impl Rejection {
    /// A refusal with nothing beyond the reason's own text.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            details: None,
        }
    }

    /// A misconfiguration; `fix` goes to the log, never to the client.
    pub(crate) fn misconfigured(fix: &'static str) -> Self {
        let mut rejection = Self::new(Reason::NotConfigured);
        rejection.details_mut().fix = Some(fix);
        rejection
    }

    /// A header of the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.details_mut().fields.push((name, value));
        self
    }

    /// When the caller may try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.details_mut().retry_after = Some(after);
        self
    }

    pub(crate) fn with_realm(mut self, realm: &Arc<str>) -> Self {
        self.details_mut().realm = Some(Arc::clone(realm));
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// What would have been enough, where the refusal is about rights.
    #[must_use]
    pub fn required(&self) -> Option<&str> {
        self.details()?.required.as_deref()
    }

    /// When the caller may try again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.details()?.retry_after
    }

    pub(crate) fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    pub(crate) fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}
