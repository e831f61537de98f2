//! The service, and the gate that decides by the verifier.

use std::sync::Arc;

use http::{Request, Response};

use super::sources::{Credential, SubprotocolReply, TokenSources};
use super::verify::{Verifier, VerifyError};
use crate::caller_scope::CallerScope;
use crate::clock::Reading;
use crate::decision::Mode;
use crate::gate::{Admitted, Begin, Gate};
use crate::gated_service::gated_service;
use crate::identity::Caller;
use crate::jwks::{JwksCache, LookupMode};
use crate::observe::{CachedMetrics, Description, Stopwatch};
use crate::preflight::is_preflight;
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

gated_service! {
    /// A service behind [`JwtAuthLayer`](super::JwtAuthLayer), in the scope of the caller of each
    /// request.
    ///
    /// tonic's `NamedService` cannot be implemented here without a dependency on tonic. To layer
    /// one service of a server, use tonic's own `LayerExt`, which keeps the name:
    ///
    /// ```
    /// use portcullis::JwtAuthLayer;
    /// use tonic::service::LayerExt;
    /// use tonic::transport::Server;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "health-api")?;
    /// let (_, health) = tonic_health::server::health_reporter();
    /// let server = Server::builder().add_service(auth.named_layer(health));
    /// # Ok(())
    /// # }
    /// ```
    JwtAuth, JwtGate
}

#[derive(Clone, Debug)]
pub(super) struct JwtGate(Arc<Settings>);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) verifier: Verifier,
    pub(super) realm: Realm,
    pub(super) sources: TokenSources,
    pub(super) optional: bool,
    pub(super) mode: Mode,
    pub(super) passes_preflight: bool,
    /// Metrics of each issuer, in the verifier's order: for new tokens and for cached ones.
    metrics: Box<[[CachedMetrics; 2]]>,
}

/// What is kept of an admitted request.
pub(super) struct Authenticated {
    scope: Option<CallerScope>,
    reply: SubprotocolReply,
    /// Whether the token was found in the token cache.
    cached: bool,
    /// The position of the token's issuer. `None` for an anonymous caller.
    issuer: Option<usize>,
}

// === impl JwtGate ===

impl JwtGate {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self(Arc::new(Settings {
            metrics: verifier
                .issuers
                .iter()
                .map(|issuer| [(); 2].map(|()| CachedMetrics::of_issuer(&issuer.name)))
                .collect(),
            verifier,
            realm: Realm::default(),
            sources: TokenSources::default(),
            optional: false,
            mode: Mode::default(),
            passes_preflight: false,
        }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    /// Verifies the credential and replaces the caller in the extensions.
    fn authenticate<B>(
        &self,
        credential: &Credential,
        request: &mut Request<B>,
        mode: LookupMode,
        now: Reading,
    ) -> Result<Authenticated, VerifyError> {
        let extensions = request.extensions_mut();
        let verifier = &self.0.verifier;
        let above = match verifier.needs_request_keys {
            true => extensions.get::<JwksCache>(),
            false => None,
        };
        let (identity, issuer) = verifier.verify(&credential.bearer, above, mode, now)?;
        let cached = identity.is_cached();
        let caller = Caller::Verified(identity);
        let scope = CallerScope::new(&caller);
        extensions.insert(caller);
        Ok(Authenticated {
            scope,
            reply: credential.reply,
            cached,
            issuer: Some(issuer),
        })
    }

    /// Rejects the request. In report mode it is passed on anyway, so its credential is removed and
    /// its caller is anonymous.
    fn reject<B>(&self, rejection: impl Into<Rejection>, request: &mut Request<B>) -> Rejection {
        let rejection = rejection.into();
        if self.0.mode == Mode::Report {
            if rejection.reason() != Reason::MissingToken {
                self.0.sources.discard(request);
            }
            request.extensions_mut().insert(Caller::Anonymous);
        }
        rejection.with_realm(self.0.realm.name())
    }
}

impl Settings {
    /// Whether a request without a token passes.
    fn admits_anonymous<B>(&self, request: &Request<B>) -> bool {
        self.optional || self.passes_preflight && is_preflight(request.method(), request.headers())
    }
}

// === impl Authenticated ===

impl Authenticated {
    fn anonymous() -> Self {
        Self {
            scope: CallerScope::new(&Caller::Anonymous),
            reply: SubprotocolReply::default(),
            cached: false,
            issuer: None,
        }
    }
}

impl Admitted for Authenticated {
    fn scope(&mut self) -> Option<&mut CallerScope> {
        self.scope.as_mut()
    }

    #[inline]
    fn on_response<R>(self, response: &mut Response<R>) {
        self.reply.apply(response);
    }
}

impl Gate for JwtGate {
    const STAGE: Stage = Stage::Authentication;
    const TIMED: bool = true;
    type Admitted = Authenticated;
    type Answer = Credential;

    fn begin<B>(&self, request: &mut Request<B>, watch: Stopwatch) -> Begin<Self> {
        let settings = &*self.0;
        let max_bytes = settings.verifier.max_token_bytes;
        let credential = match settings.sources.take(request, max_bytes) {
            Ok(Some(credential)) => credential,
            Ok(None) if settings.admits_anonymous(request) => {
                request.extensions_mut().insert(Caller::Anonymous);
                return Begin::Admit(Authenticated::anonymous());
            }
            Ok(None) => return Begin::Reject(self.reject(Reason::MissingToken, request)),
            Err(reason) => return Begin::Reject(self.reject(reason, request)),
        };
        match self.authenticate(&credential, request, LookupMode::MayWait, watch.reading()) {
            Ok(admitted) => Begin::Admit(admitted),
            Err(VerifyError::Rejected(rejection)) => Begin::Reject(self.reject(rejection, request)),
            Err(VerifyError::Wait(waiter)) => Begin::Wait(Box::pin(async move {
                waiter.await;
                credential
            })),
        }
    }

    fn finish<B>(
        &self,
        credential: Credential,
        request: &mut Request<B>,
    ) -> Result<Authenticated, Rejection> {
        self.authenticate(&credential, request, LookupMode::Final, Reading::now())
            .map_err(|error| self.reject(error.into_rejection(), request))
    }

    fn passed(&self) -> Option<Authenticated> {
        Some(Authenticated::anonymous())
    }

    #[inline]
    fn describe<'a>(
        &'a self,
        verdict: Result<&'a Authenticated, &'a Rejection>,
    ) -> Description<'a> {
        let metrics = |admitted: &Authenticated| {
            let [new, cached] = self.0.metrics.get(admitted.issuer?)?;
            Some(if admitted.cached { cached } else { new })
        };
        Description {
            policy: "jwt",
            mode: match self.0.mode {
                Mode::Enforce if self.0.optional => "optional",
                mode => mode.as_str(),
            },
            rule: None,
            source: "",
            // A layer above may have set the caller of a rejected request.
            has_caller: verdict.is_ok(),
            metrics: verdict.ok().and_then(metrics),
        }
    }
}
