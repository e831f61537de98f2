//! Which rule belongs to which request.

use std::fmt;

use http::Method;

use super::rule::Rule;

/// A rule for each kind of request: by method, and by path for gRPC.
///
/// What no rule was given for is refused. A single [`Rule`] is for every request.
///
/// ```
/// use http::Method;
/// use portcullis::{Rule, Rules};
///
/// let orders = Rules::new()
///     .reads(Rule::scope("orders:read"))
///     .writes(Rule::scope("orders:write"))
///     .method(Method::DELETE, Rule::role("admin"));
/// assert_eq!(orders.rule_for(&Method::HEAD, "/orders"), &Rule::scope("orders:read"));
/// assert_eq!(orders.rule_for(&Method::DELETE, "/orders"), &Rule::role("admin"));
/// assert_eq!(orders.rule_for(&Method::TRACE, "/orders"), &Rule::nobody());
///
/// let grpc = Rules::new()
///     .path("/orders.v1.Orders/List", Rule::scope("orders:read"))
///     .path("/orders.v1.Orders/Place", Rule::scope("orders:write"));
/// assert_eq!(grpc.rule_for(&Method::POST, "/orders.v1.Orders/Delete"), &Rule::nobody());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Rules(pub(super) Cases<Rule>);

/// Something for each kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cases<T> {
    /// The most particular first.
    pub(super) listed: Vec<(Kind, T)>,
    pub(super) otherwise: T,
}

/// A kind of requests. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Path(Box<str>),
    Method(Method),
    Reads,
    Writes,
}

const READS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
const WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Methods have a case (RFC 9110 section 9.1), but there are servers that overlook it: for them `delete` is DELETE.
fn is_same(own: &Method, method: &Method) -> bool {
    own.as_str().eq_ignore_ascii_case(method.as_str())
}

// === impl Rules ===

impl Rules {
    /// Nobody may do anything yet.
    pub fn new() -> Self {
        Self::from(Rule::nobody())
    }

    /// For requests that change nothing: GET, HEAD and OPTIONS.
    pub fn reads(self, rule: Rule) -> Self {
        self.with(Kind::Reads, rule)
    }

    /// For requests that change something: POST, PUT, PATCH and DELETE.
    pub fn writes(self, rule: Rule) -> Self {
        self.with(Kind::Writes, rule)
    }

    /// For one method, in any case (some servers read `delete` as DELETE), whatever [`reads`](Self::reads) and
    /// [`writes`](Self::writes) say. The rule for GET is for HEAD too, unless HEAD has its own.
    pub fn method(self, method: Method, rule: Rule) -> Self {
        self.with(Kind::Method(method), rule)
    }

    /// For one path, whatever its method: a gRPC method is the path `/package.Service/Method`.
    ///
    /// The path is compared byte for byte, as it arrives at the layer. Another spelling (`/a/`, `//a`, `/%61`, `/x/../a`) is
    /// another path, so before a service that reads them as one give [`otherwise`](Self::otherwise) no weaker rule.
    pub fn path(self, path: impl AsRef<str>, rule: Rule) -> Self {
        self.with(Kind::Path(path.as_ref().into()), rule)
    }

    /// For all requests that have no rule of their own.
    pub fn otherwise(mut self, rule: Rule) -> Self {
        self.0.otherwise = rule;
        self
    }

    /// The rule for a request.
    pub fn rule_for(&self, method: &Method, path: &str) -> &Rule {
        self.0.at(self.0.find(method, path))
    }

    fn with(mut self, kind: Kind, rule: Rule) -> Self {
        let listed = &mut self.0.listed;
        match listed.iter_mut().find(|(own, _)| *own == kind) {
            Some((_, own)) => *own = rule,
            None => {
                listed.push((kind, rule));
                listed.sort_by_key(|(kind, _)| kind.rank());
            }
        }
        self
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new()
    }
}

/// The rule is for every request.
impl From<Rule> for Rules {
    fn from(rule: Rule) -> Self {
        Self(Cases {
            listed: Vec::new(),
            otherwise: rule,
        })
    }
}

/// `reads scope:orders:read; DELETE role:admin; otherwise nobody`, or the rule alone if there is one for all.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let otherwise = &self.0.otherwise;
        if self.0.listed.is_empty() {
            return otherwise.fmt(f);
        }
        for (kind, rule) in &self.0.listed {
            write!(f, "{kind} {rule}; ")?;
        }
        write!(f, "otherwise {otherwise}")
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rules({self})")
    }
}

// === impl Cases ===

impl<T> Cases<T> {
    /// Where in the list a request belongs; `None` for `otherwise`.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<usize> {
        if self.listed.is_empty() {
            return None;
        }
        let own = |method: &Method| self.position(|kind| kind.is_for(method, path));
        let found = own(method);
        let is_own = |at: usize| {
            let kind = self.listed.get(at);
            kind.is_some_and(|(kind, _)| !matches!(kind, Kind::Reads | Kind::Writes))
        };
        // HEAD tells what GET tells, apart from the body.
        match found {
            Some(at) if is_own(at) => found,
            _ if is_same(&Method::HEAD, method) => own(&Method::GET),
            _ => found,
        }
    }

    pub(super) fn at(&self, at: Option<usize>) -> &T {
        let listed = at.and_then(|at| self.listed.get(at));
        listed.map_or(&self.otherwise, |(_, own)| own)
    }

    pub(super) fn map<U>(self, mut map: impl FnMut(T) -> U) -> Cases<U> {
        let listed = self.listed.into_iter();
        Cases {
            listed: listed.map(|(kind, own)| (kind, map(own))).collect(),
            otherwise: map(self.otherwise),
        }
    }

    fn position(&self, is_it: impl Fn(&Kind) -> bool) -> Option<usize> {
        self.listed.iter().position(|(kind, _)| is_it(kind))
    }
}

// === impl Kind ===

impl Kind {
    const fn rank(&self) -> u8 {
        match self {
            Self::Path(_) => 0,
            Self::Method(_) => 1,
            Self::Reads => 2,
            Self::Writes => 3,
        }
    }

    fn is_for(&self, method: &Method, path: &str) -> bool {
        match self {
            Self::Path(own) => **own == *path,
            Self::Method(own) => is_same(own, method),
            Self::Reads => READS.iter().any(|own| is_same(own, method)),
            Self::Writes => WRITES.iter().any(|own| is_same(own, method)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Method(method) => method.fmt(f),
            Self::Reads => f.write_str("reads"),
            Self::Writes => f.write_str("writes"),
        }
    }
}
