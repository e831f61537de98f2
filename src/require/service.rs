//! The service: glue between the rule and the gate.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Extensions, Request};

use super::rule::Rule;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::observe::{Decision, Stage, Tally, mode};
use crate::preflight::is_preflight;
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};

gated_service! {
    /// A service behind [`RequireRoleLayer`](super::RequireRoleLayer).
    RequireRole, RequireGate
}

#[derive(Clone, Debug)]
pub(super) struct RequireGate(Arc<Settings>);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    rule: Rule,
    /// The rule in words, for the body of a refusal; `None` if it names clients or subjects.
    required: Option<Arc<str>>,
    /// The rule's scopes, for the challenge.
    scope: Option<Arc<str>>,
    pub(super) name: Box<str>,
    pub(super) realm: Realm,
    pub(super) report_only: bool,
    pub(super) passes_preflight: bool,
    tally: Tally,
}

// === impl RequireGate ===

impl RequireGate {
    pub(super) fn new(rule: Rule) -> Self {
        Self(Arc::new(Settings {
            required: rule.is_public().then(|| rule.to_string().into()),
            scope: rule.scopes().map(Into::into),
            name: "require".into(),
            realm: Realm::default(),
            report_only: false,
            passes_preflight: false,
            tally: Tally::default(),
            rule,
        }))
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }

    fn decide(&self, caller: Option<&Caller>) -> Result<(), Rejection> {
        match caller {
            Some(Caller::Verified(identity)) if self.0.rule.holds(identity) => Ok(()),
            Some(Caller::Verified(_)) => Err(self.refusal(Reason::InsufficientScope)),
            Some(Caller::Anonymous) => Err(self.refusal(Reason::MissingToken)),
            None => Err(Rejection::misconfigured(
                "RequireRoleLayer found no caller: put JwtAuthLayer above it",
            )),
        }
    }

    fn refusal(&self, reason: Reason) -> Rejection {
        let mut rejection = Rejection::new(reason).with_realm(self.0.realm.name());
        let details = rejection.details_mut();
        details.scope.clone_from(&self.0.scope);
        if reason == Reason::InsufficientScope {
            details.required.clone_from(&self.0.required);
        }
        rejection
    }
}

impl Gate for RequireGate {
    const TIMED: bool = false;
    type Ticket = ();
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>) -> Begin<Self> {
        let anonymous = matches!(Caller::of(request.extensions()), Some(Caller::Anonymous));
        if self.0.passes_preflight && anonymous && is_preflight(request.method(), request.headers())
        {
            return Begin::Pass(());
        }
        match self.decide(Caller::of(request.extensions())) {
            Ok(()) => Begin::Pass(()),
            Err(rejection) => Begin::Reject(rejection),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<(), Rejection> {
        match answer {}
    }

    fn seals(&self, (): &()) -> bool {
        false
    }

    fn reports_only(&self) -> bool {
        self.0.report_only
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Self::Ticket, &'a Rejection>,
    ) -> Decision<'a> {
        Decision {
            stage: Stage::Authorization,
            policy: &self.0.name,
            mode: mode(self.0.report_only),
            identity: Caller::of(extensions).and_then(Caller::identity),
            rejection: verdict.err(),
            cached: false,
            tally: Some(&self.0.tally),
        }
    }
}
