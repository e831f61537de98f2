//! The layer, which is its own builder.

use tower::Layer;

use super::rule::Rule;
use super::service::{RequireGate, RequireRole};
use crate::error::ConfigError;
use crate::realm::Realm;

/// Admits callers for whom a rule holds. See the [module](super).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireRoleLayer {
    gate: RequireGate,
    enabled: bool,
}

impl RequireRoleLayer {
    /// The caller has at least one of these roles. An empty list admits nobody.
    pub fn any<R: AsRef<str>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::rule(Rule::any(roles.into_iter().map(Rule::role)))
    }

    /// The caller has every one of these roles. An empty list admits every verified caller.
    pub fn all<R: AsRef<str>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::rule(Rule::all(roles.into_iter().map(Rule::role)))
    }

    /// The rule holds for the caller.
    pub fn rule(rule: Rule) -> Self {
        Self {
            gate: RequireGate::new(rule),
            enabled: true,
        }
    }

    /// The name of this policy in events and metrics. The default: `require`.
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        self.gate.settings_mut().name = name.as_ref().into();
        self
    }

    /// The protection space that challenges name (RFC 9110 section 11.5). The default: `api`.
    ///
    /// # Errors
    ///
    /// If it could not stand between quotes.
    pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
        self.gate.settings_mut().realm = Realm::new(realm)?;
        Ok(self)
    }

    /// Lets true CORS preflights pass that `JwtAuthLayer` let pass: see
    /// [`JwtAuthLayer::pass_cors_preflight`](crate::JwtAuthLayer::pass_cors_preflight).
    pub fn pass_cors_preflight(mut self) -> Self {
        self.gate.settings_mut().passes_preflight = true;
        self
    }

    /// Decides, counts and logs what it would refuse (`would_deny`), and lets it through: for trying a rule on real
    /// traffic. A misconfiguration is refused still.
    pub fn report_only(mut self) -> Self {
        self.gate.settings_mut().report_only = true;
        self
    }

    /// Switched off, it lets every request pass.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}

impl<S> Layer<S> for RequireRoleLayer {
    type Service = RequireRole<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireRole::new(self.enabled.then(|| self.gate.clone()), inner)
    }
}
