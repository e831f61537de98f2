//! The checks of a token by the settings of its issuer.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{ClaimError, Claims};
use super::header::Header;
use super::issuer::Issuer;
use crate::rejection::Reason;
use crate::tenant::{self, PLACEHOLDER};

impl Issuer {
    /// Whether `iss` is this issuer or one of its tenants.
    pub(super) fn is_named(&self, iss: &str) -> bool {
        match &self.pattern {
            None => *self.name == *iss,
            Some(pattern) => pattern.tenant(iss).is_some(),
        }
    }

    /// Whether tokens of `iss` are accepted.
    pub(super) fn allows(&self, iss: &str) -> bool {
        let allows = |tenant| self.allowed.as_ref().is_none_or(|allowed| allowed(tenant));
        self.pattern.is_none() || self.tenant(iss).is_some_and(allows)
    }

    /// Whether tokens may name any tenant.
    pub(super) fn is_open(&self) -> bool {
        self.pattern.is_some() && self.allowed.is_none()
    }

    /// The checks before the signature is verified.
    pub(super) fn check_header(&self, header: &Header<'_>) -> Result<(), Reason> {
        if !self.accepted_algorithms().contains(header.algorithm) {
            return Err(Reason::AlgorithmNotAllowed);
        }
        let typ = header.media_type();
        if !self.types.iter().any(|own| own.eq_ignore_ascii_case(typ)) {
            return Err(Reason::WrongType);
        }
        Ok(())
    }

    /// The checks after the signature was verified. `iss` is the issuer whose key verified the
    /// signature.
    pub(super) fn check_claims(
        &self,
        claims: &Claims<'_>,
        iss: &str,
        now: Duration,
    ) -> Result<(), ClaimError> {
        let reject = |reason, claim: &str| Err(ClaimError::new(reason, claim));
        if claims.issuer.as_deref() != Some(iss) {
            return reject(Reason::WrongIssuer, "iss");
        }
        let Some(expires_at) = claims.expires_at else {
            return reject(Reason::InvalidClaim, "exp");
        };
        if self.is_expired(expires_at, now) {
            return reject(Reason::Expired, "exp");
        }
        if self.is_early(claims.starts_at(), now) {
            let claim = if claims.not_before >= claims.issued_at {
                "nbf"
            } else {
                "iat"
            };
            return reject(Reason::NotYetValid, claim);
        }
        let Some(audience) = &claims.audience else {
            return reject(Reason::InvalidClaim, &self.mapping.audience);
        };
        let mut names = audience.iter().map(|name| &*name.0);
        if !names.any(|name| self.accepts_audience(iss, name)) {
            return reject(Reason::WrongAudience, &self.mapping.audience);
        }
        match claims.subject.as_deref() {
            None | Some("") => reject(Reason::InvalidClaim, &self.mapping.subject.to_string()),
            Some(_) => Ok(()),
        }
    }

    /// Whether a token with these times is valid now.
    pub(super) fn is_current(&self, expires_at: u64, starts_at: u64, now: Duration) -> bool {
        !self.is_expired(expires_at, now) && !self.is_early(starts_at, now)
    }

    fn is_expired(&self, expires_at: u64, now: Duration) -> bool {
        now.as_secs() >= expires_at.saturating_add(self.leeway.as_secs())
    }

    fn is_early(&self, starts_at: u64, now: Duration) -> bool {
        starts_at > now.as_secs().saturating_add(self.leeway.as_secs())
    }

    /// The issuer for the identity: the configured name, or the tenant's.
    pub(super) fn name_of(&self, iss: &str) -> Arc<str> {
        match &self.pattern {
            None => Arc::clone(&self.name),
            Some(_) => iss.into(),
        }
    }

    fn tenant<'n>(&self, iss: &'n str) -> Option<&'n str> {
        self.pattern.as_ref()?.tenant(iss)
    }

    fn accepts_audience(&self, iss: &str, name: &str) -> bool {
        self.audiences.iter().any(|own| match self.tenant(iss) {
            Some(tenant) if own.contains(PLACEHOLDER) => tenant::fits_template(own, tenant, name),
            _ => **own == *name,
        })
    }
}
