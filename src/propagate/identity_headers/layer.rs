use tower::Layer;

use super::field::IdentityField;
use super::owned::Owned;
use super::service::{HeadersGate, IdentityHeaders, Mode};
use crate::error::ConfigError;
use crate::manifest::{Describe, Entry};
use crate::realm::Realm;

/// Tells the service below who is calling, in headers that no client can forge.
///
/// 1. The client's `Connection` header is applied: what it nominates is removed, and it nominates nothing any more. What
///    messages depend on or a proxy in front sets (`x-forwarded-*`, `x-request-id`, `traceparent`) stays.
/// 2. Every header that this layer owns is removed, in every spelling that a server may take for the same: any case,
///    and any separator for `-`.
/// 3. The headers are set from a verified caller. What is missing stays away.
/// 4. The inner service is called inside the caller's scope, for
///    [`TokenPropagationLayer`](crate::TokenPropagationLayer).
///
/// Put it inside `JwtAuthLayer`, and on public routes too: without a verified caller it removes and sets nothing.
///
/// The client sees nothing of it, except 401 `invalid_claim` for a token that holds what would be read as something
/// else upstream: a role or a claim with a comma, a control character, outer blanks, or text that is not visible ASCII.
///
/// The upstream must be reachable through this service alone, or anyone may set the headers there. Trailers are part of
/// the body and are not looked at. Where tokens of several issuers are accepted a subject is not enough: add
/// [`with_issuer`](Self::with_issuer).
///
/// ```
/// use std::convert::Infallible;
///
/// use http::{Request, Response};
/// use portcullis::IdentityHeadersLayer;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let echo = service_fn(|request: Request<()>| async move {
///     let mut response = Response::new(());
///     *response.headers_mut() = request.into_parts().0.headers;
///     Ok::<_, Infallible>(response)
/// });
/// let service = IdentityHeadersLayer::new().layer(echo);
///
/// let request = Request::builder().header("X_User_Id", "root").header("x-request-id", "7");
/// let response = service.oneshot(request.body(())?).await?;
/// assert!(response.headers().contains_key("x-request-id"));
/// assert!(!response.headers().contains_key("x_user_id"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
#[doc(alias = "x-user-id", alias = "x-forwarded-user")]
pub struct IdentityHeadersLayer {
    owned: Owned,
    realm: Realm,
    enabled: bool,
}

// === impl IdentityHeadersLayer ===

impl Default for IdentityHeadersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl IdentityHeadersLayer {
    /// Sets `x-user-id` to the subject, `x-user-roles` to the roles and `x-user-scopes` to the scopes.
    pub fn new() -> Self {
        let mut layer = Self::none();
        layer.owned.preset("x-user-id", IdentityField::Subject);
        layer.owned.preset("x-user-roles", IdentityField::Roles);
        layer.owned.preset("x-user-scopes", IdentityField::Scopes);
        layer
    }

    /// Owns no header until [`header`](Self::header) says so.
    pub fn none() -> Self {
        Self {
            owned: Owned::default(),
            realm: Realm::default(),
            enabled: true,
        }
    }

    /// Adds a header, or changes what one of this name tells.
    ///
    /// ```
    /// use portcullis::IdentityHeadersLayer;
    /// use portcullis::propagate::IdentityField;
    ///
    /// let layer = IdentityHeadersLayer::new().header("x-tenant", IdentityField::Claim("tenant".into()));
    /// assert!(layer.is_ok());
    /// let layer = IdentityHeadersLayer::new().header("Host", IdentityField::Subject);
    /// assert!(layer.is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Header`] for what is no header name, for a name that messages, connections or other services
    /// depend on (`authorization`, `host`, `content-length`, `x-forwarded-for`), and for another spelling of a name
    /// that is set already.
    pub fn header(
        mut self,
        name: impl AsRef<str>,
        field: IdentityField,
    ) -> Result<Self, ConfigError> {
        self.owned.set(name.as_ref(), field)?;
        Ok(self)
    }

    /// Adds `x-user-issuer`, which every service needs that accepts tokens of several issuers: a subject is unique
    /// only inside its issuer (RFC 7519 section 4.1.2).
    pub fn with_issuer(mut self) -> Self {
        self.owned.preset("x-user-issuer", IdentityField::Issuer);
        self
    }

    /// The protection space that challenges name (RFC 9110 section 11.5). The default: `api`.
    ///
    /// # Errors
    ///
    /// If it could not stand between quotes.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        self.realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Switches the headers on or off. Off, none is set, and those that a client sends are removed as ever; the caller's
    /// scope is opened still.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}

impl Describe for IdentityHeadersLayer {
    fn describe(&self, entry: &mut Entry) {
        if self.enabled {
            let names: Vec<&str> = self.owned.names().collect();
            entry.propagates("identity_headers", names.join(", "));
        }
    }
}

impl<S> Layer<S> for IdentityHeadersLayer {
    type Service = IdentityHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let mode = if self.enabled { Mode::Set } else { Mode::Off };
        let gate = HeadersGate::new(self.owned.clone(), self.realm.clone(), mode);
        IdentityHeaders::new(Some(gate), inner)
    }
}
