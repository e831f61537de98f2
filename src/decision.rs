//! What the layers decided about one request, for an access log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::identity::Identity;
use crate::rejection::Reason;

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
/// assert_eq!(records[0].event, "authz.denied");
/// assert_eq!(records[0].reason, Some(Reason::NotConfigured));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct DecisionLog(Arc<Mutex<Vec<DecisionRecord>>>);

/// One decision of one layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecisionRecord {
    /// What happened, as events name it: `auth.success`, `authz.denied`, `ratelimit.limited`.
    pub event: &'static str,
    /// Why the request was refused, or would have been; `None` if it passed.
    pub reason: Option<Reason>,
    /// Whether the request was let through although there is a reason.
    pub report_only: bool,
    /// The layer's name, as configured.
    pub policy: Box<str>,
    /// Who was calling, where that was known.
    pub caller: Option<Identity>,
    /// Whether authentication remembered the token, and did not verify its signature again.
    pub cached: bool,
    /// How long the decision took, where it is measured.
    pub duration: Option<Duration>,
}

impl DecisionLog {
    /// What was decided so far.
    #[must_use]
    pub fn records(&self) -> Vec<DecisionRecord> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn push(&self, record: DecisionRecord) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }
}
