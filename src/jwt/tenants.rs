//! One policy for the issuers of many tenants.

use std::sync::Arc;

use super::policy::Issuer;
use crate::error::ConfigError;
use crate::tenant::{self, PLACE, TenantPattern};

// === impl Issuer ===

impl Issuer {
    /// The issuers of all tenants whose name fits a pattern: an https URL with `{tenant}` for one segment of its path, such as
    /// `https://login.example.com/{tenant}/v2.0`. Scheme, host, port and the rest of the path are fixed.
    ///
    /// A tenant's name is up to 128 letters, digits, `-`, `_` and `.`, and begins with no dot. [`allow_tenants`](Self::allow_tenants)
    /// narrows that down. Whoever can get a tenant there can issue tokens, so an audience may hold
    /// `{tenant}` too, and then names that of the token's own tenant alone. [`Identity::issuer`](crate::Identity::issuer) is the
    /// tenant's, and a subject means nothing without it.
    ///
    /// Keys come from [sources](crate::JwksSource#tenants) of the same pattern. An issuer that is named in full elsewhere in the layer is
    /// judged by its own policy.
    ///
    /// ```
    /// use portcullis::{Issuer, JwksCache, JwksSource, JwtAuthLayer};
    ///
    /// const REALMS: &str = "https://id.example.com/realms/{tenant}";
    /// let keys = JwksCache::new([JwksSource::discover(REALMS)?])?;
    /// let tenants = Issuer::tenants(REALMS)?
    ///     .allow_tenants(|tenant| ["acme", "globex"].contains(&tenant))
    ///     .audience("api://{tenant}/orders")
    ///     .with_keys(keys);
    /// assert!(JwtAuthLayer::new([tenants]).is_ok());
    ///
    /// // A host is named in full.
    /// assert!(Issuer::tenants("https://{tenant}.example.com/").is_err());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] if it is no such pattern.
    pub fn tenants(pattern: impl AsRef<str>) -> Result<Self, ConfigError> {
        let mut this = Self::new(pattern.as_ref());
        this.pattern = Some(TenantPattern::parse(&this.name)?);
        Ok(this)
    }

    /// Accepts the tokens of tenants for whom this says so, and no others.
    ///
    /// It is asked once for every token of a name that fits the pattern, before the signature is looked at, and must answer
    /// from memory. With it, nobody can have keys fetched for tenants that he has made up.
    pub fn allow_tenants(mut self, allowed: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.allowed = Some(Arc::new(allowed));
        self
    }

    pub(super) fn check_tenants(&self) -> Result<(), ConfigError> {
        let refuse = |setting, problem| Err(ConfigError::Setting { setting, problem });
        if self.pattern.is_some() {
            Ok(())
        } else if self.name.contains(PLACE) {
            refuse(
                "issuer",
                "it stands for many: trust them with `Issuer::tenants`",
            )
        } else if self.audiences.iter().any(|name| name.contains(PLACE)) {
            refuse("audience", "one with `{tenant}` needs `Issuer::tenants`")
        } else if self.allowed.is_some() {
            refuse(
                "allow_tenants",
                "this issuer has none: name it with `Issuer::tenants`",
            )
        } else {
            Ok(())
        }
    }

    /// Whether a token's `iss` is this issuer, or one of those that it stands for.
    pub(super) fn is_named(&self, iss: &str) -> bool {
        match &self.pattern {
            None => *self.name == *iss,
            Some(pattern) => pattern.tenant(iss).is_some(),
        }
    }

    /// Whether it accepts tokens of this issuer.
    pub(super) fn allows(&self, iss: &str) -> bool {
        let allows = |tenant| self.allowed.as_ref().is_none_or(|allowed| allowed(tenant));
        self.pattern.is_none() || self.tenant(iss).is_some_and(allows)
    }

    /// Whether a token can make up an issuer.
    pub(super) fn is_open(&self) -> bool {
        self.pattern.is_some() && self.allowed.is_none()
    }

    /// The issuer as the token names it, or as it was configured.
    pub(super) fn name_of(&self, iss: &str) -> Arc<str> {
        match &self.pattern {
            None => Arc::clone(&self.name),
            Some(_) => iss.into(),
        }
    }

    fn tenant<'n>(&self, iss: &'n str) -> Option<&'n str> {
        self.pattern.as_ref()?.tenant(iss)
    }

    pub(super) fn accepts_audience(&self, iss: &str, name: &str) -> bool {
        self.audiences.iter().any(|own| match self.tenant(iss) {
            Some(tenant) if own.contains(PLACE) => tenant::stands_for(own, tenant, name),
            _ => **own == *name,
        })
    }
}
