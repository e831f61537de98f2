//! The mode of a layer, and the record of its decisions for an access log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Extensions;

use crate::identity::Identity;
use crate::rejection::Reason;
use crate::sync::lock;

/// Whether a layer rejects requests or only reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Rejected requests are not passed on.
    #[default]
    Enforce,
    /// Requests that would be rejected are counted, logged (`would_deny`, `would_limit`) and passed
    /// on. Use this mode to try a rule or a quota on real traffic. A misconfiguration is still
    /// rejected.
    Report,
}

/// The decisions of the layers about one request, in the order in which they were made.
///
/// An outer layer, such as an access log, puts an empty log into the request's extensions, keeps a
/// clone, and reads it after the response. Clones share their records.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use http::{Request, Response};
/// use portcullis::{DecisionLog, Reason, RequireRoleLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(RequireRoleLayer::any(["admin"]))
///     .service(service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(())) }));
///
/// let log = DecisionLog::default();
/// let mut request = Request::new(());
/// request.extensions_mut().insert(log.clone());
/// service.oneshot(request).await?;
///
/// let records = log.records();
/// assert_eq!((records[0].layer, records[0].event), ("authorization", "authz.denied"));
/// assert_eq!(records[0].reason, Some(Reason::NotConfigured));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DecisionLog(Arc<Mutex<Vec<DecisionRecord>>>);

/// Whether a log was ever created in this process. Until then, layers skip the lookup in the
/// extensions of each request. Nothing else depends on this flag.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// One decision of one layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// The kind of layer: `authentication`, `authorization`, `rate_limit` or `propagation`.
    pub layer: &'static str,
    /// The name of the event, such as `auth.success`, `authz.denied` or `ratelimit.limited`.
    pub event: &'static str,
    /// Why the request was or would have been rejected; `None` if it was admitted.
    pub reason: Option<Reason>,
    /// `enforce` or `report`; `optional` for authentication; `headers` or `off` for propagation.
    pub mode: &'static str,
    /// The configured name of the layer.
    pub policy: Box<str>,
    /// The authorization rule as text. It may name clients and subjects.
    pub rule: Option<Box<str>>,
    /// The smallest set of rights that the caller lacked, as text, if more rights would have
    /// helped.
    pub missing: Option<Box<str>>,
    /// The verified caller. Its [`key_id`](Identity::key_id) names the key that signed the token.
    pub caller: Option<Identity>,
    /// Whether the token was found in the token cache.
    pub cached: bool,
    /// The duration of the decision, if it was measured.
    pub duration: Option<Duration>,
}

crate::words::words! {
    Mode: "mode" { Enforce => "enforce", Report => "report" }
}

// === impl DecisionLog ===

impl DecisionLog {
    /// The log of this request, if it has one.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        // `Relaxed` suffices: a request carries a log only after the log was made.
        IN_USE.load(Ordering::Relaxed).then(|| extensions.get())?
    }

    /// The decisions so far.
    #[must_use]
    pub fn records(&self) -> Vec<DecisionRecord> {
        lock(&self.0).clone()
    }

    pub(crate) fn push(&self, record: DecisionRecord) {
        lock(&self.0).push(record);
    }
}

impl Default for DecisionLog {
    fn default() -> Self {
        IN_USE.store(true, Ordering::Relaxed);
        Self(Arc::default())
    }
}
