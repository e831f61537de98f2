//! Finds the route of a request: the longest matching path prefix on segment boundaries; at equal
//! length, a route for the request's host before a route for any host.

use std::collections::BTreeSet;

use crate::target::{decode, is_dots};

/// Routes, sorted by precedence.
pub(crate) struct Table<R>(Vec<Row<R>>);

struct Row<R> {
    host: Option<String>,
    segments: Vec<Segment>,
    route: R,
}

struct Segment {
    /// The path as configured. Requests must match it byte for byte.
    own: String,
    /// The percent-decoded path, as many servers see it.
    decoded: String,
}

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<R> {
    Route(R),
    Nothing,
    /// A server that decodes twice, strips path parameters or ignores case would choose a different
    /// route.
    Ambiguous,
}

// === impl Table ===

impl<R: Clone> Table<R> {
    /// Builds the table from hosts, paths and routes.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Option<String>, String, R)>) -> Self {
        let rows = routes.into_iter().map(|(host, path, route)| Row {
            host,
            segments: segments(&path).map(Segment::of).collect(),
            route,
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| (usize::MAX - row.segments.len(), row.host.is_none()));
        Self(rows)
    }

    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Found<R> {
        let Some((at, row)) = self.row(host, path, |own, other| own.own == other) else {
            return Found::Nothing;
        };
        let is_elsewhere = |path: &str| {
            let other = self.row(host, path, Segment::may_be);
            other.is_none_or(|(other, _)| other != at)
        };
        if readings(path).iter().any(|path| is_elsewhere(path)) {
            return Found::Ambiguous;
        }
        Found::Route(row.route.clone())
    }

    fn row(
        &self,
        host: Option<&str>,
        path: &str,
        is_same: impl Fn(&Segment, &str) -> bool,
    ) -> Option<(usize, &Row<R>)> {
        self.0.iter().enumerate().find(|(_, row)| {
            let fits = row.host.is_none() || row.host.as_deref() == host;
            let mut path = segments(path);
            fits && row
                .segments
                .iter()
                .all(|own| path.next().is_some_and(|segment| is_same(own, segment)))
        })
    }
}

// === impl Segment ===

impl Segment {
    fn of(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            decoded: decoded(own).unwrap_or_else(|| own.to_owned()),
        }
    }

    fn may_be(&self, other: &str) -> bool {
        [&self.own, &self.decoded]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(other))
    }
}

/// The segments of a path. A trailing slash does not start another segment.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// All the ways in which servers may read a path: decoded once or twice, without parameters, and
/// with dot segments resolved afterwards.
fn readings(path: &str) -> BTreeSet<String> {
    let mut readings = BTreeSet::from([path.to_owned()]);
    for read in [decoded, decoded, without_parameters, resolved] {
        let more: Vec<_> = readings.iter().filter_map(|path| read(path)).collect();
        readings.extend(more);
    }
    readings
}

fn decoded(path: &str) -> Option<String> {
    path.contains('%')
        .then(|| decode(path))
        .flatten()
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\\', "/"))
}

fn without_parameters(path: &str) -> Option<String> {
    let names = path.split('/').filter_map(|name| name.split(';').next());
    path.contains(';')
        .then(|| names.collect::<Vec<_>>().join("/"))
}

fn resolved(path: &str) -> Option<String> {
    if !path.split('/').any(is_dots) {
        return None;
    }
    let mut resolved = Vec::new();
    for segment in path.split('/') {
        match segment.trim() {
            // Repeated decoding may produce empty segments, which some servers merge.
            "" | "." => {}
            ".." => drop(resolved.pop()),
            _ => resolved.push(segment),
        }
    }
    Some(format!("/{}", resolved.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: &str, path: &str, expected: Found<&'static str>) {
        let shop = || Some("shop.example".to_owned());
        let table = Table::new([
            (None, "/".to_owned(), "all"),
            (None, "/api/admin".to_owned(), "admin"),
            (shop(), "/".to_owned(), "shop"),
            (shop(), "/api/admin".to_owned(), "shop admin"),
            (None, "/api/admin/keys".to_owned(), "keys"),
        ]);
        assert_eq!(table.find(Some(host), path), expected, "{path}");
    }

    #[test]
    fn longest_path_wins_then_host() {
        check("a", "/", Found::Route("all"));
        check("a", "/api/adminx", Found::Route("all"));
        check("a", "/api/admin", Found::Route("admin"));
        check("a", "/api/admin/", Found::Route("admin"));
        check("a", "/api/admin/x", Found::Route("admin"));
        check("shop.example", "/api", Found::Route("shop"));
        check("shop.example", "/api/admin", Found::Route("shop admin"));
        check("shop.example", "/api/admin/keys/1", Found::Route("keys"));
    }

    #[test]
    fn ambiguous_path_between_routes_is_refused() {
        for path in [
            "/api/%61dmin",
            "/api/%2561dmin",
            "/api/admin;x",
            "/api/admin%3bx/y",
            "/api;v=1/admin",
            "/API/admin",
            "/api/ADMIN;x",
            "/x/%252e%252e/api/admin",
            "/x/%3b/%252e%252e/api/admin",
            "/Api/admin/%252e%252e/%252e%252e/x",
            "/api/%2561dmin/%252e%252e/x",
            "/api%252fadmin",
            "/api%255cadmin",
        ] {
            check("a", path, Found::Ambiguous);
        }
        for path in ["/%61", "/x;y", "/X", "/a%252fb", "/%252e%252e/a"] {
            check("a", path, Found::Route("all"));
        }
        check("a", "/api/admin/%61;x/Y", Found::Route("admin"));
    }

    #[test]
    fn route_path_may_contain_encoded_letters() {
        let table = Table::new([
            (None, "/".to_owned(), "all"),
            (None, "/caf%C3%A9".to_owned(), "cafe"),
            (None, "/any/%2A".to_owned(), "star"),
        ]);
        let check = |path, expected| assert_eq!(table.find(None, path), expected, "{path}");
        check("/caf%C3%A9", Found::Route("cafe"));
        check("/caf%C3%A9/7", Found::Route("cafe"));
        check("/cafe", Found::Route("all"));
        check("/any/%2A", Found::Route("star"));
        check("/any/*", Found::Ambiguous);
        check("/any/1", Found::Route("all"));
        for path in ["/caf%c3%a9", "/caf%25C3%25A9", "/CAF%C3%A9"] {
            check(path, Found::Ambiguous);
        }
    }

    #[test]
    fn unknown_path_has_no_route() {
        let table = Table::new([(None, "/api".to_owned(), ())]);
        assert_eq!(table.find(None, "/"), Found::Nothing);
        assert_eq!(table.find(None, "/API"), Found::Nothing);
        assert_eq!(table.find(None, "/api"), Found::Route(()));
    }
}
