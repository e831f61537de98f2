//! The table of reasons to reject a request, with the HTTP and the gRPC status side by side.

use std::fmt;

use http::StatusCode;

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
    // reason code HTTP gRPC challenge fixed text
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

/// A reason of the application, rendered in the same form.
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
