use std::convert::Infallible;
use std::sync::Arc;

use http::{Extensions, Request};

use super::super::scope::Scoped;
use super::owned::Owned;
use crate::gate::{Begin, Gate, gated_service};
use crate::identity::Caller;
use crate::observe::{Decision, Stage, Tally};
use crate::rejection::{Reason, Rejection};

gated_service! {
    /// A service behind [`IdentityHeadersLayer`](crate::IdentityHeadersLayer), inside the scope of its caller.
    IdentityHeaders, HeadersGate, Scoped
}

/// Writes the headers, and refuses a caller whom they could not describe.
#[derive(Clone, Debug)]
pub(super) struct HeadersGate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    owned: Owned,
    set: Tally,
    anonymous: Tally,
}

// === impl HeadersGate ===

impl HeadersGate {
    pub(super) fn new(owned: Owned) -> Self {
        Self(Arc::new(Shared {
            owned,
            set: Tally::default(),
            anonymous: Tally::default(),
        }))
    }
}

impl Gate for HeadersGate {
    const TIMED: bool = false;
    type Ticket = ();
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>) -> Begin<Self> {
        // The caller is shared, so that the headers can be written while it is read.
        let caller = Caller::of(request.extensions()).cloned();
        let identity = caller.as_ref().and_then(Caller::identity);
        match self.0.owned.rewrite(request.headers_mut(), identity) {
            Ok(()) => Begin::Pass(()),
            Err(reason) => Begin::Reject(unsafe_claim(reason)),
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
        let identity = Caller::of(extensions).and_then(Caller::identity);
        let tally = match identity {
            Some(_) => &self.0.set,
            None => &self.0.anonymous,
        };
        Decision {
            stage: Stage::Propagation,
            policy: "identity_headers",
            mode: "headers",
            identity,
            rejection: verdict.err(),
            cached: false,
            tally: Some(tally),
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
