use std::convert::Infallible;
use std::sync::Arc;

use http::{Extensions, Request};

use super::headers::OwnedHeaders;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::{Caller, Identity};
use crate::observe::{CachedMetrics, Decision, Stopwatch};
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

gated_service! {
    /// A service behind [`IdentityHeadersLayer`](crate::IdentityHeadersLayer).
    IdentityHeaders, HeadersGate
}

/// Writes the headers, and refuses a caller whom they could not describe.
#[derive(Clone, Debug)]
pub(super) struct HeadersGate(Arc<Shared>);

/// What is done once the client's own headers are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are set from the caller.
    Set,
    /// Nothing: the layer was switched off, and clients could pose as anybody if it did less.
    Off,
}

#[derive(Debug)]
struct Shared {
    owned: OwnedHeaders,
    realm: Realm,
    mode: Mode,
    set: CachedMetrics,
    anonymous: CachedMetrics,
}

// === impl HeadersGate ===

impl HeadersGate {
    pub(super) fn new(owned: OwnedHeaders, realm: Realm, mode: Mode) -> Self {
        Self(Arc::new(Shared {
            owned,
            realm,
            mode,
            set: CachedMetrics::default(),
            anonymous: CachedMetrics::default(),
        }))
    }
}

impl Shared {
    /// Whom the upstream is told of.
    fn told<'c>(&self, caller: Option<&'c Caller>) -> Option<&'c Identity> {
        match self.mode {
            Mode::Set => caller.and_then(Caller::identity),
            Mode::Off => None,
        }
    }
}

impl Mode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "headers",
            Self::Off => "off",
        }
    }
}

impl Gate for HeadersGate {
    const TIMED: bool = false;
    type Ticket = ();
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        // The caller is shared, so that the headers can be written while it is read.
        let caller = Caller::of(request.extensions()).cloned();
        let identity = self.0.told(caller.as_ref());
        match self.0.owned.rewrite(request.headers_mut(), identity) {
            Ok(()) => Begin::Pass(()),
            Err(reason) => Begin::Reject(unsafe_claim(reason).with_realm(self.0.realm.name())),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<(), Rejection> {
        match answer {}
    }

    fn describe<'a>(
        &'a self,
        extensions: &'a Extensions,
        verdict: Result<&Self::Ticket, &'a Rejection>,
    ) -> Decision<'a> {
        let identity = self.0.told(Caller::of(extensions));
        let tally = match identity {
            Some(_) => &self.0.set,
            None => &self.0.anonymous,
        };
        Decision {
            stage: Stage::Propagation,
            policy: "identity_headers",
            mode: self.0.mode.as_str(),
            rule: None,
            source: "",
            identity,
            rejection: verdict.err(),
            metrics: Some(tally),
        }
    }
}

fn unsafe_claim(reason: Reason) -> Rejection {
    let mut rejection = Rejection::new(reason);
    rejection.details_mut().fix = Some(
        "the issuer should not put commas, outer blanks or anything but visible ASCII into the claims that become headers",
    );
    rejection
}
