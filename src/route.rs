//! The template of a request's route. A path never replaces it, because clients invent paths.

use std::sync::Arc;

use http::{Extensions, Uri};

/// The template of the route that a request takes (`/orders/{id}`).
///
/// Routers other than axum insert it into the extensions of a request. With the feature `axum`,
/// `MatchedPath` is read where it is absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteTemplate(pub Arc<str>);

/// The template: an inserted [`RouteTemplate`], otherwise what the router matched.
pub(crate) fn template(extensions: &Extensions) -> Option<&str> {
    let inserted = extensions.get::<RouteTemplate>().map(|route| &*route.0);
    #[cfg(feature = "axum")]
    let inserted = inserted.or_else(|| {
        let matched = extensions.get::<axum::extract::MatchedPath>();
        matched.map(axum::extract::MatchedPath::as_str)
    });
    inserted
}

/// The method of a gRPC request (`/package.Service/Method`).
///
/// Clients can invent methods, so the length and the characters are bounded, and only events
/// contain it: it is never a metric label or the key of a limit.
pub(crate) fn grpc_method(uri: &Uri) -> Option<&str> {
    const MAX_BYTES: usize = 128;
    let path = uri.path();
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
    };
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (path.len() <= MAX_BYTES && is_name(service) && is_name(method)).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_methods_have_a_bounded_form() {
        #[track_caller]
        fn check(path: &str, expected: bool) {
            let uri = path.parse().unwrap();
            assert_eq!(grpc_method(&uri).is_some(), expected, "{path}");
        }
        check("/shop.v1.Orders/Get_Order", true);
        check("http://host/shop.Orders/Get?x=1", true);
        for other in ["/", "/shop.Orders", "/shop.Orders/", "/a/b/c", "//b"] {
            check(other, false);
        }
        for other in ["/a%0a/b", "/a;b/c", "/a-b/c"] {
            check(other, false);
        }
        check(&format!("/a/{}", "b".repeat(125)), true);
        check(&format!("/a/{}", "b".repeat(126)), false);
    }
}
