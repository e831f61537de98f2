//! The builder, which is the layer itself.

use std::sync::Arc;

use tower::Layer;

use super::field::{HeaderSource, IdentityField};
use super::headers::OwnedHeaders;
use super::service::{HeadersGate, IdentityHeaders, Mode};
use crate::error::ConfigError;
use crate::identity::Identity;
use crate::manifest::{Describe, Entry};
use crate::realm::Realm;

/// Sets headers that identify the caller to the service below, and that no client can forge.
///
/// See the [module](super) for how it decides, and for what the client sees.
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
    owned: OwnedHeaders,
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
    /// Sets `x-user-id` to the subject, `x-user-roles` to the roles and `x-user-scopes` to the
    /// scopes.
    pub fn new() -> Self {
        let mut layer = Self::none();
        for (name, field) in [
            ("x-user-id", IdentityField::Subject),
            ("x-user-roles", IdentityField::Roles),
            ("x-user-scopes", IdentityField::Scopes),
        ] {
            layer.owned.preset(name, HeaderSource::Field(field));
        }
        layer
    }

    /// Sets no header. Add headers with [`header`](Self::header).
    pub fn none() -> Self {
        Self {
            owned: OwnedHeaders::default(),
            realm: Realm::default(),
            enabled: true,
        }
    }

    /// Adds a header, or replaces the field of a header with this name.
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
    /// [`ConfigError::Header`] for a malformed name, for a name that messages, connections or other
    /// services depend on (`authorization`, `host`, `content-length`, `x-forwarded-for`), and for
    /// another spelling of a name that is already set.
    pub fn header(self, name: impl AsRef<str>, field: IdentityField) -> Result<Self, ConfigError> {
        self.set(name.as_ref(), HeaderSource::Field(field))
    }

    /// Adds a header whose value is computed from the identity, such as the name of a partner. If
    /// `value` returns `None`, the header is not sent.
    ///
    /// Commas are sent as they are. The function must not let a claim that contains a comma look
    /// like several values.
    ///
    /// ```
    /// use portcullis::IdentityHeadersLayer;
    ///
    /// let layer = IdentityHeadersLayer::new().header_from("x-consumer", |me| match me.client()? {
    ///     "acme-mobile" => Some("acme".to_owned()),
    ///     _ => None,
    /// });
    /// assert!(layer.is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`header`](Self::header).
    pub fn header_from(
        self,
        name: impl AsRef<str>,
        value: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        self.set(name.as_ref(), HeaderSource::Function(Arc::new(value)))
    }

    /// Adds `x-user-issuer`. A service that accepts tokens of several issuers needs it, because a
    /// subject is unique only within its issuer (RFC 7519 section 4.1.2).
    pub fn with_issuer(mut self) -> Self {
        let issuer = HeaderSource::Field(IdentityField::Issuer);
        self.owned.preset("x-user-issuer", issuer);
        self
    }

    /// The protection space that challenges name (RFC 9110 section 11.5). The default: `api`.
    ///
    /// # Errors
    ///
    /// If it contains characters that a quoted string cannot contain.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        self.realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Switches the headers on or off. If off, no header is set, and the headers of the
    /// client are still removed.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    fn set(mut self, name: &str, source: HeaderSource) -> Result<Self, ConfigError> {
        self.owned.set(name, source)?;
        Ok(self)
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
