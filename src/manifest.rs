//! Lists the layers of each route: what is authenticated, required, limited and propagated.
//!
//! Layers [describe](Describe) themselves, so the list contains the layers that run. Commit the
//! printed list and compare it in a test: every change of a rule then appears in code review:
//!
//! ```
//! use portcullis::manifest::Manifest;
//! use portcullis::{JwtAuthLayer, Quota, RateLimitLayer, RequireLayer, Rule, Rules};
//!
//! # fn main() -> Result<(), portcullis::ConfigError> {
//! let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api")?;
//! let limit = RateLimitLayer::new(Quota::per_second(50).burst(100)).by_subject();
//! let rules = Rules::new().reads(Rule::scope("orders:read")).writes(Rule::scope("orders:write"));
//!
//! let manifest = Manifest::new()
//!     .route("/orders", &(auth, limit, RequireLayer::new(rules)))
//!     .route("/health", &());
//! // In your own test, compare with a file or use a snapshot library.
//! assert_eq!(
//!     manifest.to_string(),
//!     "\
//! /orders
//!   authenticates jwt: tokens of https://id.example.com/ for orders-api
//!   limits default: 100 at once and 1 more every 20ms, by subject
//!   requires require: reads scope:orders:read
//!   requires require: writes scope:orders:write
//!   requires require: otherwise nobody
//! /health
//!   public
//! "
//! );
//! # Ok(())
//! # }
//! ```
//!
//! With axum, [`GuardedRouter`](crate::GuardedRouter) makes the list while it adds the routes. With
//! the feature `serde`, a manifest can be serialized.

use std::fmt;
use std::sync::Arc;

use tower::Layer;

use crate::decision::Mode;

/// A layer that can describe what it does to requests.
///
/// Implemented by the layers of this crate and by tuples of layers, outermost first as in
/// `.layer((a, b))`. A layer of another crate is wrapped in [`Undescribed`]. The trait may gain
/// provided methods.
///
/// ```
/// use portcullis::Mode;
/// use portcullis::manifest::{Describe, Entry, Manifest};
///
/// struct AllowedNetworks(&'static str);
///
/// impl Describe for AllowedNetworks {
///     fn describe(&self, entry: &mut Entry) {
///         let rules = [("all requests".to_owned(), format!("network {}", self.0))];
///         entry.requires("networks", Mode::Enforce, rules);
///     }
/// }
///
/// let manifest = Manifest::new().route("/admin", &Some(AllowedNetworks("10.0.0.0/8")));
/// assert_eq!(
///     manifest.to_string(),
///     "/admin\n  requires networks: all requests network 10.0.0.0/8\n"
/// );
/// ```
pub trait Describe {
    /// Adds what this layer does to the entry of a route.
    fn describe(&self, entry: &mut Entry);
}

/// A layer that the manifest does not list, for layers of other crates.
///
/// ```
/// use portcullis::manifest::{Manifest, Undescribed};
/// use portcullis::{RequireRoleLayer, Rule};
/// use tower::limit::ConcurrencyLimitLayer;
///
/// let layers = (Undescribed(ConcurrencyLimitLayer::new(64)), RequireRoleLayer::any(["admin"]));
/// let manifest = Manifest::new().route("/admin", &layers);
/// assert_eq!(manifest.to_string(), "/admin\n  requires require: all requests any(role:admin)\n");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Undescribed<L>(pub L);

/// The layers of each route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Manifest {
    routes: Vec<Entry>,
}

/// The layers of one route, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Entry {
    route: String,
    guards: Vec<Guard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
struct Guard {
    does: Effect,
    policy: String,
    what: String,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_enforced"))]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
enum Effect {
    Authenticates,
    Requires,
    Limits,
    Propagates,
}

#[cfg(feature = "serde")]
#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_enforced(mode: &Mode) -> bool {
    *mode == Mode::Enforce
}

// === impl Manifest ===

impl Manifest {
    /// A manifest without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route and describes its layers.
    #[must_use]
    pub fn route(mut self, route: impl Into<String>, guards: &impl Describe) -> Self {
        let mut entry = Entry::new(route);
        guards.describe(&mut entry);
        self.routes.push(entry);
        self
    }

    /// The routes, in the order in which they were added.
    #[must_use]
    pub fn routes(&self) -> &[Entry] {
        &self.routes
    }

    /// Appends the routes of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// Adds `prefix` to every route, as `Router::nest` does.
    #[must_use]
    pub fn nest(mut self, prefix: &str) -> Self {
        for entry in &mut self.routes {
            entry.route = match (prefix.strip_suffix('/'), &*entry.route) {
                (None, "/") if !prefix.is_empty() => prefix.to_owned(),
                (stripped, route) => format!("{}{route}", stripped.unwrap_or(prefix)),
            };
        }
        self
    }

    /// Adds `layers` before the layers of those routes for which `is_guarded` is true.
    #[cfg(feature = "axum")]
    pub(crate) fn behind(mut self, layers: &impl Describe, is_guarded: &[bool]) -> Self {
        let mut outer = Entry::new("");
        layers.describe(&mut outer);
        for (entry, _) in self
            .routes
            .iter_mut()
            .zip(is_guarded)
            .filter(|(_, guarded)| **guarded)
        {
            entry.guards.splice(0..0, outer.guards.iter().cloned());
        }
        self
    }
}

impl FromIterator<Entry> for Manifest {
    fn from_iter<I: IntoIterator<Item = Entry>>(routes: I) -> Self {
        let routes = routes.into_iter().collect();
        Self { routes }
    }
}

/// One line for each route, followed by one line for each effect of a layer.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.routes.iter().try_for_each(|entry| entry.fmt(f))
    }
}

// === impl Entry ===

impl Entry {
    /// A route without layers.
    #[must_use]
    pub fn new(route: impl Into<String>) -> Self {
        Self {
            route: route.into(),
            guards: Vec::new(),
        }
    }

    /// Returns the path or the name of the route.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.route
    }

    /// Whether no layer authenticates callers or requires anything of them.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let protects =
            |guard: &Guard| matches!(guard.does, Effect::Authenticates | Effect::Requires);
        !self.guards.iter().any(protects)
    }

    /// Adds an authentication: `what` describes the accepted credentials.
    pub fn authenticates(&mut self, policy: &str, mode: Mode, what: impl Into<String>) {
        self.push(Effect::Authenticates, policy, mode, what.into());
    }

    /// Adds requirements: pairs of the requests and the rule for them.
    pub fn requires(
        &mut self,
        policy: &str,
        mode: Mode,
        rules: impl IntoIterator<Item = (String, String)>,
    ) {
        for (requests, rule) in rules {
            self.push(Effect::Requires, policy, mode, format!("{requests} {rule}"));
        }
    }

    /// Adds a limit: `what` describes the quota and its key.
    pub fn limits(&mut self, policy: &str, mode: Mode, what: impl Into<String>) {
        self.push(Effect::Limits, policy, mode, what.into());
    }

    /// Adds a propagation: `what` describes what the inner service receives.
    pub fn propagates(&mut self, policy: &str, what: impl Into<String>) {
        self.push(Effect::Propagates, policy, Mode::Enforce, what.into());
    }

    fn push(&mut self, does: Effect, policy: &str, mode: Mode, what: String) {
        self.guards.push(Guard {
            does,
            policy: policy.to_owned(),
            what,
            mode,
        });
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.route)?;
        if self.is_public() {
            writeln!(f, "  public")?;
        }
        self.guards.iter().try_for_each(|guard| guard.fmt(f))
    }
}

// === impl Guard ===

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let does = match self.does {
            Effect::Authenticates => "authenticates",
            Effect::Requires => "requires",
            Effect::Limits => "limits",
            Effect::Propagates => "propagates",
        };
        let note = match self.mode {
            Mode::Enforce => "",
            Mode::Report => " (report only)",
        };
        writeln!(f, "  {does} {}: {}{note}", self.policy, self.what)
    }
}

// === impl Describe ===

impl<D: Describe + ?Sized> Describe for &D {
    fn describe(&self, entry: &mut Entry) {
        (**self).describe(entry);
    }
}

macro_rules! pointers {
    ($($Pointer:ident)*) => {$(
        impl<D: Describe + ?Sized> Describe for $Pointer<D> {
            fn describe(&self, entry: &mut Entry) {
                (**self).describe(entry);
            }
        }
    )*};
}

pointers!(Arc Box);

/// `None` adds nothing.
impl<D: Describe> Describe for Option<D> {
    fn describe(&self, entry: &mut Entry) {
        self.iter().for_each(|layer| layer.describe(entry));
    }
}

/// The first layer is the outermost.
impl<D: Describe> Describe for Vec<D> {
    fn describe(&self, entry: &mut Entry) {
        self.iter().for_each(|layer| layer.describe(entry));
    }
}

impl<L> Describe for Undescribed<L> {
    fn describe(&self, _: &mut Entry) {}
}

impl<S, L: Layer<S>> Layer<S> for Undescribed<L> {
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.0.layer(inner)
    }
}

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Describe),*> Describe for ($($name,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn describe(&self, entry: &mut Entry) {
                let ($($name,)*) = self;
                $($name.describe(entry);)*
            }
        }
    };
}

tuples!();
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
