//! What stands before each route: who is authenticated, what is required, limited and passed on.
//!
//! Layers [describe](Describe) themselves, so that what is listed is what was built. Print the list into a file that is
//! committed, compare it in a test, and no change of a rule goes unnoticed:
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
//! // In a test of your own: a file, or the snapshot library of your choice.
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
//! Under axum, [`GuardedRouter`](crate::GuardedRouter) builds the routes and the list from the same words, and takes no route
//! without a rule. It is serializable too, for an operator's page.

use std::fmt;

use crate::decision::Mode;

/// Something that stands before a route and can say what it does there.
///
/// The layers of this crate do, and tuples of them, outermost first as in `.layer((a, b))`. A layer of your own may say
/// what it [requires](Entry::requires), [limits](Entry::limits) or [propagates](Entry::propagates).
pub trait Describe {
    /// Adds what this does to what is said of a route.
    fn describe(&self, entry: &mut Entry);
}

/// What stands before each of some routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Manifest {
    routes: Vec<Entry>,
}

/// What stands before one route, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Entry {
    route: String,
    guards: Vec<Guard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
struct Guard {
    does: Deed,
    policy: String,
    what: String,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_enforced"))]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
enum Deed {
    Authenticates,
    Requires,
    Limits,
    Propagates,
}

#[cfg(feature = "serde")]
#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks so
fn is_enforced(mode: &Mode) -> bool {
    *mode == Mode::Enforce
}

// === impl Manifest ===

impl Manifest {
    /// Of no routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route and what stands before it.
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

    /// The routes of `self`, then those of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self
    }

    /// The same routes below `prefix`, as a router is nested.
    #[must_use]
    pub fn nest(mut self, prefix: &str) -> Self {
        for entry in &mut self.routes {
            entry.route.insert_str(0, prefix);
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

/// A line for each route, and below it one for each thing that stands before it.
impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.routes.iter().try_for_each(|entry| entry.fmt(f))
    }
}

// === impl Entry ===

impl Entry {
    /// A route before which nothing stands yet.
    #[must_use]
    pub fn new(route: impl Into<String>) -> Self {
        Self {
            route: route.into(),
            guards: Vec::new(),
        }
    }

    /// The route, as it was named.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.route
    }

    /// Whether nothing asks who is calling: no authentication, and no rule.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let asks = |guard: &Guard| matches!(guard.does, Deed::Authenticates | Deed::Requires);
        !self.guards.iter().any(asks)
    }

    /// Adds who is authenticated: `what` in words.
    pub fn authenticates(&mut self, policy: &str, mode: Mode, what: impl Into<String>) {
        self.push(Deed::Authenticates, policy, mode, what.into());
    }

    /// Adds what is required, as pairs of the requests in question and the rule for them.
    pub fn requires(
        &mut self,
        policy: &str,
        mode: Mode,
        rules: impl IntoIterator<Item = (String, String)>,
    ) {
        for (requests, rule) in rules {
            self.push(Deed::Requires, policy, mode, format!("{requests} {rule}"));
        }
    }

    /// Adds what is limited: `what` in words.
    pub fn limits(&mut self, policy: &str, mode: Mode, what: impl Into<String>) {
        self.push(Deed::Limits, policy, mode, what.into());
    }

    /// Adds what the service behind is told: `what` in words.
    pub fn propagates(&mut self, policy: &str, what: impl Into<String>) {
        self.push(Deed::Propagates, policy, Mode::Enforce, what.into());
    }

    fn push(&mut self, does: Deed, policy: &str, mode: Mode, what: String) {
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
            Deed::Authenticates => "authenticates",
            Deed::Requires => "requires",
            Deed::Limits => "limits",
            Deed::Propagates => "propagates",
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
