//! The decision on a request, and the service.

use std::convert::Infallible;
use std::sync::Arc;

use http::Request;

use super::rule::Rule;
use super::rules::{Cases, Rules};
use crate::clock::Clock;
use crate::decision::Mode;
use crate::gate::{Admitted, Begin, Gate};
use crate::gated_service::gated_service;
use crate::identity::{Caller, Identity};
use crate::observe::{CachedMetrics, Description, Stopwatch};
use crate::preflight::is_preflight;
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

gated_service! {
    /// The service of [`RequireLayer`](super::RequireLayer).
    Require, RequireGate
}

#[derive(Clone, Debug)]
pub(super) struct RequireGate(Arc<Settings>);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    cases: Cases<Prepared>,
    pub(super) name: Arc<str>,
    pub(super) realm: Realm,
    pub(super) mode: Mode,
    pub(super) passes_preflight: bool,
    pub(super) clock: Clock,
    metrics: CachedMetrics,
}

/// A rule with its text, prepared once.
#[derive(Clone, Debug)]
struct Prepared {
    rule: Rule,
    text: Arc<str>,
    /// For the challenge to a caller without a token: the scopes to request.
    scope: Option<Arc<str>>,
    admits_anonymous: bool,
}

/// Why a request passed.
#[derive(Clone, Copy)]
pub(super) enum Passed {
    Preflight,
    Case(Option<usize>),
}

// === impl RequireGate ===

impl RequireGate {
    pub(super) fn new(rules: Rules) -> Self {
        Self(Arc::new(Settings {
            cases: rules.0.map(Prepared::new),
            name: "require".into(),
            realm: Realm::default(),
            mode: Mode::default(),
            passes_preflight: false,
            clock: Clock::default(),
            metrics: CachedMetrics::default(),
        }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    pub(super) fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }
}

// === impl Settings ===

impl Settings {
    /// Every rule as text, with the requests that it is for.
    pub(super) fn rules(&self) -> impl Iterator<Item = (String, String)> {
        let listed = self.cases.listed.iter();
        let listed = listed.map(|(kind, own)| (kind.to_string(), own.text.to_string()));
        let for_all = self.cases.listed.is_empty();
        let word = if for_all { "all requests" } else { "otherwise" };
        listed.chain([(word.to_owned(), self.cases.otherwise.text.to_string())])
    }

    fn decide<B>(&self, request: &Request<B>) -> Result<Passed, Rejection> {
        let Some(caller) = Caller::of(request.extensions()) else {
            return Err(Rejection::misconfigured(
                "RequireLayer found no caller: put JwtAuthLayer above it",
            ));
        };
        let at = self.cases.find(request.method(), request.uri().path());
        let own = self.cases.at(at);
        match caller {
            Caller::Verified(identity) if own.rule.truth(identity, &self.clock).is_yes() => {
                Ok(Passed::Case(at))
            }
            Caller::Verified(identity) => Err(self.rejection(own, identity)),
            Caller::Anonymous if own.admits_anonymous => Ok(Passed::Case(at)),
            Caller::Anonymous if self.lets_pass(request) => Ok(Passed::Preflight),
            Caller::Anonymous => Err(self.challenge(own)),
        }
    }

    fn lets_pass<B>(&self, request: &Request<B>) -> bool {
        self.passes_preflight && is_preflight(request.method(), request.headers())
    }

    /// The rejection of an anonymous caller.
    #[cold]
    fn challenge(&self, own: &Prepared) -> Rejection {
        let mut rejection = Rejection::new(Reason::MissingToken).with_realm(self.realm.name());
        let details = rejection.details_mut();
        details.rule = Some(Arc::clone(&own.text));
        details.scope.clone_from(&own.scope);
        rejection
    }

    #[cold]
    fn rejection(&self, own: &Prepared, identity: &Identity) -> Rejection {
        let missing = own.rule.missing(Some(identity), &self.clock);
        let is_login = missing.as_ref().is_some_and(|missing| missing.is_login);
        let mut rejection = Rejection::new(if is_login {
            Reason::InsufficientUserAuthentication
        } else {
            Reason::InsufficientScope
        })
        .with_realm(self.realm.name());
        let details = rejection.details_mut();
        details.rule = Some(Arc::clone(&own.text));
        details.required = own.rule.is_public().then(|| Arc::clone(&own.text));
        let Some(missing) = missing else {
            return rejection;
        };
        details.missing = Some(missing.text.into());
        details.scope = missing.scope.map(Into::into);
        // Parameters of a step-up challenge only (RFC 9470 section 3).
        if is_login {
            details.acr_values = missing.acr_values.map(Into::into);
            details.max_age = missing.max_age;
        }
        rejection
    }
}

// === impl Prepared ===

impl Prepared {
    fn new(rule: Rule) -> Self {
        // The clock is not read, because there is no identity.
        let missing = rule.missing(None, &Clock::System);
        Self {
            text: rule.to_string().into(),
            admits_anonymous: rule.truth_for_anonymous().is_yes(),
            scope: missing.and_then(|missing| missing.scope).map(Into::into),
            rule,
        }
    }
}

impl Admitted for Passed {}

impl Gate for RequireGate {
    const STAGE: Stage = Stage::Authorization;
    const TIMED: bool = false;
    type Admitted = Passed;
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        match self.0.decide(request) {
            Ok(passed) => Begin::Admit(passed),
            Err(rejection) => Begin::Reject(rejection),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<Passed, Rejection> {
        match answer {}
    }

    #[inline]
    fn describe<'a>(&'a self, verdict: Result<&'a Passed, &'a Rejection>) -> Description<'a> {
        Description {
            policy: &self.0.name,
            mode: self.0.mode.as_str(),
            rule: match verdict {
                Ok(Passed::Case(at)) => Some(&*self.0.cases.at(*at).text),
                Ok(Passed::Preflight) => None,
                Err(rejection) => rejection.details().and_then(|d| d.rule.as_deref()),
            },
            source: "",
            has_caller: true,
            metrics: Some(&self.0.metrics),
        }
    }
}
