//! Rules by method and path.

use std::fmt;

use http::Method;

use super::rule::Rule;

/// A rule for each kind of request: by method, and by path for gRPC.
///
/// A request without a rule is refused. A single [`Rule`] applies to every request.
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
///
/// With the feature `serde`, a configuration has the keys `reads`, `writes`, `methods`, `paths` and
/// `otherwise`:
///
/// ```
/// # use portcullis::{Rule, Rules};
/// let rules: Rules = toml::from_str(
///     r#"
///     reads = { scope = "orders:read" }
///     methods = { POST = { scope = "orders:write" }, DELETE = { role = "admin" } }
///     "#,
/// )?;
/// assert_eq!(
///     rules.to_string(),
///     "DELETE role:admin; POST scope:orders:write; reads scope:orders:read; otherwise nobody"
/// );
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Rules(pub(super) Cases<Rule>);

/// A value for each kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cases<T> {
    /// In the order of [`Requests::precedence`].
    pub(super) listed: Vec<(Requests, T)>,
    pub(super) otherwise: T,
}

/// The requests that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    Path(Box<str>),
    Method(Method),
    Reads,
    Writes,
}

const READS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
const WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

// === impl Rules ===

impl Rules {
    /// Creates rules that refuse every request.
    pub fn new() -> Self {
        Self::from(Rule::nobody())
    }

    /// The rule for GET, HEAD and OPTIONS.
    pub fn reads(self, rule: Rule) -> Self {
        self.with(Requests::Reads, rule)
    }

    /// The rule for POST, PUT, PATCH and DELETE.
    pub fn writes(self, rule: Rule) -> Self {
        self.with(Requests::Writes, rule)
    }

    /// The rule for one method. Takes precedence over [`reads`](Self::reads) and
    /// [`writes`](Self::writes).
    ///
    /// The rule for GET applies to HEAD too, unless HEAD has its own. Case is ignored, because some
    /// servers read `delete` as DELETE.
    pub fn method(self, method: Method, rule: Rule) -> Self {
        self.with(Requests::Method(method), rule)
    }

    /// The rule for one path, with any method. Takes precedence over all rules for methods.
    ///
    /// A gRPC method is the path `/package.Service/Method`. Paths are compared byte for byte, as
    /// they arrive at the layer: `/a/`, `//a`, `/%61` and `/x/../a` are not `/a`. If the service
    /// behind the layer treats such spellings as equal, the rule of [`otherwise`](Self::otherwise)
    /// must not be weaker than the rule of a path.
    pub fn path(self, path: impl AsRef<str>, rule: Rule) -> Self {
        self.with(Requests::Path(path.as_ref().into()), rule)
    }

    /// The rule for requests that have no other rule. The default: [`Rule::nobody`].
    ///
    /// ```
    /// use http::Method;
    /// use portcullis::{Rule, Rules};
    ///
    /// let rules = Rules::new().method(Method::DELETE, Rule::role("admin")).otherwise(Rule::verified());
    /// assert_eq!(rules.rule_for(&Method::GET, "/orders"), &Rule::verified());
    /// ```
    pub fn otherwise(mut self, rule: Rule) -> Self {
        self.0.otherwise = rule;
        self
    }

    /// The rule for a request.
    pub fn rule_for(&self, method: &Method, path: &str) -> &Rule {
        self.0.at(self.0.find(method, path))
    }

    fn with(mut self, requests: Requests, rule: Rule) -> Self {
        let listed = &mut self.0.listed;
        match listed.iter_mut().find(|(own, _)| *own == requests) {
            Some((_, own)) => *own = rule,
            None => {
                listed.push((requests, rule));
                listed.sort_by_key(|(requests, _)| requests.precedence());
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

/// One rule for every request.
impl From<Rule> for Rules {
    fn from(rule: Rule) -> Self {
        Self(Cases {
            listed: Vec::new(),
            otherwise: rule,
        })
    }
}

/// `DELETE role:admin; reads scope:orders:read; otherwise nobody`, or the rule alone if there is
/// only one.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let otherwise = &self.0.otherwise;
        if self.0.listed.is_empty() {
            return otherwise.fmt(f);
        }
        for (requests, rule) in &self.0.listed {
            write!(f, "{requests} {rule}; ")?;
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
    /// The index of the case for a request; `None` is `otherwise`.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<usize> {
        if self.listed.is_empty() {
            return None;
        }
        let case = |method: &Method| {
            let mut listed = self.listed.iter();
            listed.position(|(requests, _)| requests.contain(method, path))
        };
        let found = case(method);
        let is_exact = |at: usize| {
            let listed = self.listed.get(at);
            listed.is_some_and(|(requests, _)| {
                !matches!(requests, Requests::Reads | Requests::Writes)
            })
        };
        match found {
            Some(at) if is_exact(at) => found,
            // A response to HEAD discloses what a response to GET does, except the body.
            _ if is_same(&Method::HEAD, method) => case(&Method::GET),
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
            listed: listed.map(|(requests, own)| (requests, map(own))).collect(),
            otherwise: map(self.otherwise),
        }
    }
}

// === impl Requests ===

impl Requests {
    const fn precedence(&self) -> u8 {
        match self {
            Self::Path(_) => 0,
            Self::Method(_) => 1,
            Self::Reads => 2,
            Self::Writes => 3,
        }
    }

    fn contain(&self, method: &Method, path: &str) -> bool {
        match self {
            Self::Path(own) => **own == *path,
            Self::Method(own) => is_same(own, method),
            Self::Reads => READS.iter().any(|own| is_same(own, method)),
            Self::Writes => WRITES.iter().any(|own| is_same(own, method)),
        }
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Method(method) => method.fmt(f),
            Self::Reads => f.write_str("reads"),
            Self::Writes => f.write_str("writes"),
        }
    }
}

/// Methods are case-sensitive (RFC 9110 section 9.1), but some servers read `delete` as DELETE.
fn is_same(own: &Method, method: &Method) -> bool {
    own.as_str().eq_ignore_ascii_case(method.as_str())
}
