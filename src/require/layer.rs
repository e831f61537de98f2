//! The layer, which is its own builder, and the names under which it is built.

use tower::Layer;

use super::rule::Rule;
use super::rules::Rules;
use super::service::{RequireGate, RequireRole};
use crate::clock::Clock;
use crate::decision::Mode;
use crate::error::ConfigError;
use crate::manifest::{Describe, Entry};
use crate::realm::Realm;

/// Admits callers for whom a rule holds. See the [module](super).
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireRoleLayer {
    gate: RequireGate,
    enabled: bool,
}

/// Names for a [`RequireRoleLayer`] that asks for scopes.
///
/// ```
/// use portcullis::{RequireRoleLayer, RequireScopeLayer};
///
/// let layer: RequireRoleLayer = RequireScopeLayer::all(["orders:read", "orders:write"]);
/// ```
#[derive(Debug)]
pub enum RequireScopeLayer {}

/// Names for a [`RequireRoleLayer`] that asks for permissions.
///
/// ```
/// use portcullis::{RequirePermissionLayer, RequireRoleLayer};
///
/// let layer: RequireRoleLayer = RequirePermissionLayer::any(["order:read", "order:admin"]);
/// ```
#[derive(Debug)]
pub enum RequirePermissionLayer {}

// === impl RequireRoleLayer ===

impl RequireRoleLayer {
    /// The caller has at least one of these roles. An empty list admits nobody.
    pub fn any<R: AsRef<str>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::rule(Rule::any(roles.into_iter().map(Rule::role)))
    }

    /// The caller has every one of these roles. An empty list admits every verified caller.
    pub fn all<R: AsRef<str>>(roles: impl IntoIterator<Item = R>) -> Self {
        Self::rule(Rule::all(roles.into_iter().map(Rule::role)))
    }

    /// The rule holds for the caller: one [`Rule`] for all requests, or [`Rules`] by method and path.
    pub fn rule(rules: impl Into<Rules>) -> Self {
        Self {
            gate: RequireGate::new(rules.into()),
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

    /// Whether refusals are answered, or only reported: [`Mode::Report`] tries a rule on real traffic.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.gate.settings_mut().mode = mode;
        self
    }

    /// Reads the time from `clock`, for [`Rule::max_age`].
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.gate.settings_mut().clock = clock.into();
        self
    }

    /// Switched off, it lets every request pass.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }
}

impl<R: Into<Rules>> From<R> for RequireRoleLayer {
    fn from(rules: R) -> Self {
        Self::rule(rules)
    }
}

impl<S> Layer<S> for RequireRoleLayer {
    type Service = RequireRole<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireRole::new(self.enabled.then(|| self.gate.clone()), inner)
    }
}

impl Describe for RequireRoleLayer {
    fn describe(&self, entry: &mut Entry) {
        if self.enabled {
            let settings = self.gate.settings();
            entry.requires(&settings.name, settings.mode, settings.in_words());
        }
    }
}

// === impl RequireScopeLayer ===

impl RequireScopeLayer {
    /// The token was granted at least one of these scopes. An empty list admits nobody.
    pub fn any<N: AsRef<str>>(scopes: impl IntoIterator<Item = N>) -> RequireRoleLayer {
        RequireRoleLayer::rule(Rule::any(scopes.into_iter().map(Rule::scope)))
    }

    /// The token was granted every one of these scopes. An empty list admits every verified caller.
    pub fn all<N: AsRef<str>>(scopes: impl IntoIterator<Item = N>) -> RequireRoleLayer {
        RequireRoleLayer::rule(Rule::all(scopes.into_iter().map(Rule::scope)))
    }
}

// === impl RequirePermissionLayer ===

impl RequirePermissionLayer {
    /// The caller has at least one of these permissions. An empty list admits nobody.
    pub fn any<N: AsRef<str>>(permissions: impl IntoIterator<Item = N>) -> RequireRoleLayer {
        RequireRoleLayer::rule(Rule::any(permissions.into_iter().map(Rule::permission)))
    }

    /// The caller has every one of these permissions. An empty list admits every verified caller.
    pub fn all<N: AsRef<str>>(permissions: impl IntoIterator<Item = N>) -> RequireRoleLayer {
        RequireRoleLayer::rule(Rule::all(permissions.into_iter().map(Rule::permission)))
    }
}
