//! What the layers decide about a request: in which mode, and what an access log reads of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Extensions;

use crate::identity::Identity;
use crate::rejection::Reason;
use crate::sync::lock;

/// Whether a layer's refusals are answered, or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// What is refused is answered so.
    #[default]
    Enforce,
    /// What would be refused is counted, logged (`would_deny`, `would_limit`) and let through: for trying a rule or a quota on
    /// real traffic. A misconfiguration is refused still.
    Report,
}

/// What the layers below decided about one request, in their order.
///
/// An outer layer, such as an access log, puts an empty one into the request's extensions, keeps a clone, and reads it when
/// the response has come. Clones share their records.
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

/// Whether this process ever made a log. Where none was made, none is looked for in every request.
static KEPT: AtomicBool = AtomicBool::new(false);

/// One decision of one layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// Which kind of layer decided: `authentication`, `authorization`, `rate_limit` or `propagation`.
    pub layer: &'static str,
    /// What happened, as events name it: `auth.success`, `authz.denied`, `authz.would_deny`, `ratelimit.limited`.
    pub event: &'static str,
    /// Why the request was refused, or would have been; `None` if it passed.
    pub reason: Option<Reason>,
    /// `enforce` or `report`; authentication may be `optional`, and propagation tells what is passed on.
    pub mode: &'static str,
    /// The layer's name, as configured.
    pub policy: Box<str>,
    /// The rule that was asked, in words, where a rule decided. It may name clients and subjects.
    pub rule: Option<Box<str>>,
    /// The smallest set that the caller lacked, in words, where a rule decided against it and something would have helped.
    pub missing: Option<Box<str>>,
    /// Who was calling, where that was known; [`key_id`](Identity::key_id) tells which key signed the token.
    pub caller: Option<Identity>,
    /// Whether the caller's token was remembered, and its signature not verified again.
    pub cached: bool,
    /// How long the decision took, where it is measured.
    pub duration: Option<Duration>,
}

crate::words::words! {
    Mode: "mode" { Enforce => "enforce", Report => "report" }
}

// === impl DecisionLog ===

impl DecisionLog {
    /// The log of this request, if somebody keeps one.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        // Whoever brought the request here brought along that a log was made before it.
        KEPT.load(Ordering::Relaxed).then(|| extensions.get())?
    }

    /// What was decided so far.
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
        KEPT.store(true, Ordering::Relaxed);
        Self(Arc::default())
    }
}
