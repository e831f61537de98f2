//! A request that is not passed on.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::ALLOW;
use http::{HeaderName, HeaderValue, Method};

use crate::protocol::Protocol;
use crate::stage::Stage;

pub(crate) use crate::reason::Challenge;
pub use crate::reason::{CustomReason, Reason};

/// A request that is not passed on: the reason, and what the response adds to the reason's text.
///
/// The layers of this crate put it into the extensions of the response that they render, so that an
/// outer layer can count it or render it in another form
/// ([`OnRejectionLayer`](crate::OnRejectionLayer)). It is an `Error`, whose text is safe to show to
/// clients.
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

/// What a response adds to the reason's fixed text: configured words, nothing of the request.
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
    /// For metrics: the source of a rate limit's decision.
    pub(crate) source: Option<&'static str>,
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    /// For the log: the configured claim that failed.
    pub(crate) claim: Option<Arc<str>>,
    /// For the log: why the claim failed, without its value.
    pub(crate) error: Option<Arc<str>>,
    /// For the log: what to change in the setup.
    pub(crate) fix: Option<&'static str>,
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

    /// A rejection of the method, with the methods of the route in `Allow` (RFC 9110 section
    /// 15.5.6).
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

    /// Creates the rejection for a misconfiguration. `fix` is logged and never sent to the client.
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

    /// Names the claim that failed, and why, for the log. `error` must not contain the claim's
    /// value.
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

    /// The protocol of the rejected request. HTTP until a layer or [`render`](Self::render) sets
    /// it.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns what would have satisfied the rule, if the caller lacks a right.
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
