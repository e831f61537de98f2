//! The layers, which are their own builders: [`RequireLayer`] takes any rule, the others take
//! names.

use tower::Layer;

use super::rule::Rule;
use super::rules::Rules;
use super::service::{Require, RequireGate};
use crate::clock::Clock;
use crate::decision::Mode;
use crate::error::ConfigError;
use crate::manifest::{Describe, Entry};
use crate::policy_name::policy_name;
use crate::realm::Realm;

/// Defines a layer with the settings that all of them have.
macro_rules! layer {
    ($(#[$doc:meta])* $Layer:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use]
        pub struct $Layer {
            gate: RequireGate,
            enabled: bool,
        }

        impl $Layer {
            fn with(rules: Rules) -> Self {
                Self {
                    gate: RequireGate::new(rules),
                    enabled: true,
                }
            }

            /// Sets the name of this policy in events and metrics. The default: `require`.
            ///
            /// # Errors
            ///
            /// If the name is empty, longer than 64 bytes, or has characters other than ASCII
            /// letters, digits, `-`, `_`, `.`, `:` and `/`.
            pub fn named(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
                self.gate.settings_mut().name = policy_name("name of a rule", name.as_ref())?;
                Ok(self)
            }

            /// Sets the realm of challenges (RFC 9110 section 11.5). The default: `api`.
            ///
            /// # Errors
            ///
            /// If the realm is empty or cannot be quoted as it is.
            pub fn realm(mut self, realm: &str) -> Result<Self, ConfigError> {
                self.gate.settings_mut().realm = Realm::new(realm)?;
                Ok(self)
            }

            /// Admits the CORS preflights that `JwtAuthLayer` admits: see
            /// [`JwtAuthLayer::pass_cors_preflight`](crate::JwtAuthLayer::pass_cors_preflight).
            pub fn pass_cors_preflight(mut self) -> Self {
                self.gate.settings_mut().passes_preflight = true;
                self
            }

            /// Whether refusals are enforced or only reported. [`Mode::Report`] tries a rule on
            /// real traffic.
            pub fn mode(mut self, mode: Mode) -> Self {
                self.gate.settings_mut().mode = mode;
                self
            }

            /// Sets the clock for [`Rule::max_age`]. The default: the system clock.
            pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
                self.gate.settings_mut().clock = clock.into();
                self
            }

            /// Switches the layer on or off. If it is off, every request passes.
            pub fn enabled(mut self, enabled: bool) -> Self {
                self.enabled = enabled;
                self
            }
        }

        impl<S> Layer<S> for $Layer {
            type Service = Require<S>;

            fn layer(&self, inner: S) -> Self::Service {
                Require::new(self.enabled.then(|| self.gate.clone()), inner)
            }
        }

        impl Describe for $Layer {
            fn describe(&self, entry: &mut Entry) {
                if self.enabled {
                    let settings = self.gate.settings();
                    entry.requires(&settings.name, settings.mode, settings.rules());
                }
            }
        }
    };
}

layer! {
    /// Admits callers that satisfy a [`Rule`], or [`Rules`] by method and path.
    ///
    /// See the [module](super). A rule or rules convert into this layer where one is expected, as
    /// in `GuardedRouter::route`.
    ///
    /// ```
    /// use portcullis::{Mode, RequireLayer, Rule, Rules};
    ///
    /// # fn main() -> Result<(), portcullis::ConfigError> {
    /// let orders = Rules::new().reads(Rule::verified()).writes(Rule::scope("orders:write"));
    /// let layer = RequireLayer::new(orders).named("orders")?.realm("shop")?.mode(Mode::Report);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("authorize", "authorization", "rbac", "acl", "policy"))]
    RequireLayer
}

layer! {
    /// Admits callers by role: a [`RequireLayer`] whose rule is a list of roles.
    ///
    /// ```
    /// use portcullis::{RequireLayer, RequireRoleLayer, Rule};
    ///
    /// let admins = RequireRoleLayer::any(["admin", "owner"]);
    /// let same = RequireLayer::new(Rule::role("admin") | Rule::role("owner"));
    /// ```
    #[doc(alias("rbac", "roles", "authorization"))]
    RequireRoleLayer
}

layer! {
    /// Admits callers by scope of the token: a [`RequireLayer`] whose rule is a list of scopes.
    ///
    /// ```
    /// use portcullis::RequireScopeLayer;
    ///
    /// let layer = RequireScopeLayer::all(["orders:read", "orders:write"]);
    /// ```
    #[doc(alias("oauth", "scopes", "authorization"))]
    RequireScopeLayer
}

layer! {
    /// Admits callers by permission: a [`RequireLayer`] whose rule is a list of permissions.
    ///
    /// ```
    /// use portcullis::RequirePermissionLayer;
    ///
    /// let layer = RequirePermissionLayer::any(["order:read", "order:admin"]);
    /// ```
    #[doc(alias("permissions", "authorization"))]
    RequirePermissionLayer
}

// === impl RequireLayer ===

impl RequireLayer {
    /// Admits callers that satisfy `rules`: one [`Rule`] for all requests, or [`Rules`].
    pub fn new(rules: impl Into<Rules>) -> Self {
        Self::with(rules.into())
    }
}

impl<R: Into<Rules>> From<R> for RequireLayer {
    fn from(rules: R) -> Self {
        Self::new(rules)
    }
}

// === impl RequireRoleLayer, RequireScopeLayer, RequirePermissionLayer ===

macro_rules! by_names {
    ($($Layer:ident $rule:ident $names:literal;)*) => {$(
        impl $Layer {
            #[doc = concat!(" Admits callers that have at least one of these ", $names, ".")]
            ///
            /// An empty list admits no caller.
            pub fn any(names: impl IntoIterator<Item: AsRef<str>>) -> Self {
                Self::with(Rule::any(names.into_iter().map(Rule::$rule)).into())
            }

            #[doc = concat!(" Admits callers that have every one of these ", $names, ".")]
            ///
            /// An empty list admits every verified caller.
            pub fn all(names: impl IntoIterator<Item: AsRef<str>>) -> Self {
                Self::with(Rule::all(names.into_iter().map(Rule::$rule)).into())
            }
        }

        impl From<$Layer> for RequireLayer {
            fn from($Layer { gate, enabled }: $Layer) -> Self {
                Self { gate, enabled }
            }
        }
    )*};
}

by_names! {
    RequireRoleLayer role "roles";
    RequireScopeLayer scope "scopes";
    RequirePermissionLayer permission "permissions";
}
