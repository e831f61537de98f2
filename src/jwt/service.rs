//! The service: glue between the decision and the gate.

use std::sync::Arc;

use http::{Extensions, Request, Response};

use super::sources::{Credential, SubprotocolReply, TokenSources};
use super::verify::{Verifier, VerifyError};
use crate::caller_scope::Scoped;
use crate::clock::Reading;
use crate::decision::Mode;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::jwks::{JwksCache, LookupMode};
use crate::observe::{CachedMetrics, Decision, Stopwatch};
use crate::preflight::is_preflight;
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

gated_service! {
    /// A service behind [`JwtAuthLayer`](super::JwtAuthLayer), in the scope of the caller of each request.
    JwtAuth, JwtGate, Scoped
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
    /// Two counters of successes for each issuer, in the verifier's order: for tokens never seen, and seen before.
    tallies: Box<[[CachedMetrics; 2]]>,
}

/// What is kept of an authenticated request.
#[derive(Default)]
pub(super) struct Passed {
    reply: SubprotocolReply,
    /// Whether the token had been verified before.
    remembered: bool,
    /// `None` for anonymous callers.
    issuer: Option<usize>,
}

// === impl JwtGate ===

impl JwtGate {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self(Arc::new(Settings {
            tallies: verifier
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

    /// Verifies the token and replaces the caller in the extensions.
    fn authenticate<B>(
        &self,
        credential: &Credential,
        request: &mut Request<B>,
        mode: LookupMode,
        now: Reading,
    ) -> Result<Passed, VerifyError> {
        let extensions = request.extensions_mut();
        let verifier = &self.0.verifier;
        let above = match verifier.needs_request_keys {
            true => extensions.get::<JwksCache>(),
            false => None,
        };
        let verified = verifier.verify(&credential.bearer, above, mode, now)?;
        let remembered = verified.identity.is_cached();
        extensions.insert(Caller::Verified(verified.identity));
        Ok(Passed {
            reply: credential.reply,
            remembered,
            issuer: Some(verified.issuer),
        })
    }

    /// In report mode the request goes on, so its credential is removed and its caller is anonymous.
    fn refuse<B>(&self, rejection: impl Into<Rejection>, request: &mut Request<B>) -> Rejection {
        let rejection = rejection.into();
        if self.reports_only() {
            if rejection.reason() != Reason::MissingToken {
                self.0.sources.discard(request);
            }
            request.extensions_mut().insert(Caller::Anonymous);
        }
        rejection.with_realm(self.0.realm.name())
    }
}

impl Settings {
    /// Whether a request without a token may pass.
    fn lets_pass<B>(&self, request: &Request<B>) -> bool {
        self.optional || self.passes_preflight && is_preflight(request.method(), request.headers())
    }
}

impl Gate for JwtGate {
    const TIMED: bool = true;
    type Ticket = Passed;
    type Answer = Credential;

    fn begin<B>(&self, request: &mut Request<B>, watch: Stopwatch) -> Begin<Self> {
        let settings = &*self.0;
        let max_bytes = settings.verifier.max_token_bytes;
        let credential = match settings.sources.take(request, max_bytes) {
            Ok(Some(credential)) => credential,
            Ok(None) if settings.lets_pass(request) => {
                request.extensions_mut().insert(Caller::Anonymous);
                return Begin::Pass(Passed::default());
            }
            Ok(None) => return Begin::Reject(self.refuse(Reason::MissingToken, request)),
            Err(reason) => return Begin::Reject(self.refuse(reason, request)),
        };
        match self.authenticate(&credential, request, LookupMode::MayWait, watch.reading()) {
            Ok(passed) => Begin::Pass(passed),
            Err(VerifyError::Rejected(rejection)) => Begin::Reject(self.refuse(rejection, request)),
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
    ) -> Result<Passed, Rejection> {
        self.authenticate(&credential, request, LookupMode::Final, Reading::now())
            .map_err(|obstacle| self.refuse(obstacle.into_rejection(), request))
    }

    fn seals(&self, passed: &Passed) -> bool {
        passed.reply != SubprotocolReply::None
    }

    fn reports_only(&self) -> bool {
        self.0.mode == Mode::Report
    }

    fn seal<R>(&self, passed: Passed, response: &mut Response<R>) {
        passed.reply.apply(response);
    }

    fn tally(&self, passed: &Passed) -> Option<&CachedMetrics> {
        let [anew, again] = self.0.tallies.get(passed.issuer?)?;
        Some(if passed.remembered { again } else { anew })
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Passed, &'a Rejection>,
    ) -> Decision<'a> {
        // Of a request that is refused, the caller is whoever something above took it for.
        let caller = verdict.ok().and_then(|_| Caller::of(extensions));
        Decision {
            stage: Stage::Authentication,
            policy: "jwt",
            mode: match self.0.mode {
                Mode::Enforce if self.0.optional => "optional",
                mode => mode.as_str(),
            },
            rule: None,
            source: "",
            identity: caller.and_then(Caller::identity),
            rejection: verdict.err(),
            metrics: verdict.ok().and_then(|passed| self.tally(passed)),
        }
    }
}
