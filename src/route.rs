//! The template of a request's route, which a path must never stand in for: clients invent paths.

use std::sync::Arc;

use http::Extensions;

/// The template of the route that a request takes (`/orders/{id}`), for stacks that keep it nowhere else.
///
/// Insert it into the extensions of a request where it is routed. Under axum `MatchedPath` is read without it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteTemplate(pub Arc<str>);

/// What somebody put there on purpose counts before what the router saw.
pub(crate) fn template(extensions: &Extensions) -> Option<&str> {
    let told = extensions.get::<RouteTemplate>().map(|route| &*route.0);
    #[cfg(feature = "axum")]
    let told = told.or_else(|| {
        let matched = extensions.get::<axum::extract::MatchedPath>();
        matched.map(axum::extract::MatchedPath::as_str)
    });
    told
}
