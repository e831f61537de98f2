//! The service, and the gate that writes the headers.

use std::convert::Infallible;
use std::sync::Arc;

use http::Request;

use super::headers::OwnedHeaders;
use crate::gate::{Admitted, Begin, Gate};
use crate::gated_service::gated_service;
use crate::identity::{Caller, Identity};
use crate::observe::{CachedMetrics, Description, Stopwatch};
use crate::realm::Realm;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

gated_service! {
    /// A service behind [`IdentityHeadersLayer`](crate::IdentityHeadersLayer).
    IdentityHeaders, HeadersGate
}

/// Writes the headers, and rejects a caller whose claims they cannot carry.
#[derive(Clone, Debug)]
pub(super) struct HeadersGate(Arc<Shared>);

/// What happens after the client's own headers were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Headers are set from the caller.
    Set,
    /// Nothing, because the layer is switched off. Spoofed headers are still removed.
    Off,
}

#[derive(Debug)]
struct Shared {
    owned: OwnedHeaders,
    realm: Realm,
    mode: Mode,
    with_identity: CachedMetrics,
    anonymous: CachedMetrics,
}

/// The headers that a request was given.
pub(super) enum Written {
    Identity,
    Nothing,
}

// === impl HeadersGate ===

impl HeadersGate {
    pub(super) fn new(owned: OwnedHeaders, realm: Realm, mode: Mode) -> Self {
        Self(Arc::new(Shared {
            owned,
            realm,
            mode,
            with_identity: CachedMetrics::default(),
            anonymous: CachedMetrics::default(),
        }))
    }
}

impl Shared {
    /// The identity that the headers describe.
    fn identity<'c>(&self, caller: Option<&'c Caller>) -> Option<&'c Identity> {
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

impl Admitted for Written {}

impl Gate for HeadersGate {
    const STAGE: Stage = Stage::Propagation;
    const TIMED: bool = false;
    type Admitted = Written;
    type Answer = Infallible;

    fn begin<B>(&self, request: &mut Request<B>, _: Stopwatch) -> Begin<Self> {
        // A clone, because the headers are written while the caller is read.
        let caller = Caller::of(request.extensions()).cloned();
        let identity = self.0.identity(caller.as_ref());
        match self.0.owned.rewrite(request.headers_mut(), identity) {
            Ok(()) => Begin::Admit(match identity {
                Some(_) => Written::Identity,
                None => Written::Nothing,
            }),
            Err(reason) => Begin::Reject(unsafe_claim(reason).with_realm(self.0.realm.name())),
        }
    }

    fn finish<B>(&self, answer: Infallible, _: &mut Request<B>) -> Result<Written, Rejection> {
        match answer {}
    }

    #[inline]
    fn describe<'a>(&'a self, verdict: Result<&'a Written, &'a Rejection>) -> Description<'a> {
        Description {
            policy: "identity_headers",
            mode: self.0.mode.as_str(),
            rule: None,
            source: "",
            has_caller: self.0.mode == Mode::Set,
            metrics: Some(match verdict {
                Ok(Written::Identity) => &self.0.with_identity,
                Ok(Written::Nothing) | Err(_) => &self.0.anonymous,
            }),
        }
    }
}

fn unsafe_claim(reason: Reason) -> Rejection {
    let mut rejection = Rejection::new(reason);
    rejection.details_mut().fix = Some(
        "claims that become headers must be visible ASCII without commas and outer blanks: \
         change them at the issuer",
    );
    rejection
}
