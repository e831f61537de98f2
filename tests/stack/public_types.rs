//! Public types have the traits that callers expect of them.

use std::fmt::Debug;

use portcullis::client_address::{ClientAddress, PeerAddr, TrustedProxies};
use portcullis::issue::KeyRing;
use portcullis::jwks::{FetchError, IssuerState, IssuerStatus, ShareJwks, WarmError};
use portcullis::jwt::JwtAuth;
use portcullis::manifest::Entry;
use portcullis::propagate::{IdentityHeaders, TokenPropagation};
use portcullis::rate_limit::RateLimit;
use portcullis::require::Require;
use portcullis::revoke::{Kind, Revocation};
use portcullis::*;

const fn value<T: Clone + Debug + Send + Sync + Unpin + 'static>() {}

const _: () = {
    value::<(
        Algorithm,
        Caller,
        Claims<()>,
        ClaimPath,
        Clock,
        ClientAddress,
        ConfigError,
    )>();
    value::<(
        CustomReason,
        DecisionLog,
        DecisionRecord,
        Entry,
        FetchError,
        GrpcMediaType,
    )>();
    value::<(
        Identity,
        Issuer,
        IssuerState,
        IssuerStatus,
        JwksCache,
        KeyRing,
        KeySet,
        Kind,
    )>();
    value::<(
        ManualClock,
        Mode,
        Names,
        PeerAddr,
        Profile,
        Protocol,
        Quota,
        Reason,
        Rejection,
    )>();
    value::<(
        Revocation,
        Revocations,
        RouteTemplate,
        Rule,
        Rules,
        Stage,
        TestIssuer,
    )>();
    value::<(TrustedProxies, WarmError)>();
    // Layers and services.
    value::<(
        IdentityHeadersLayer,
        JwksCacheLayer,
        JwtAuthLayer,
        RateLimitLayer,
        RequireLayer,
    )>();
    value::<(
        RequirePermissionLayer,
        RequireRoleLayer,
        RequireScopeLayer,
        TokenPropagationLayer,
    )>();
    value::<(
        IdentityHeaders<()>,
        ShareJwks<()>,
        JwtAuth<()>,
        RateLimit<()>,
        Require<()>,
    )>();
    value::<(OnRejection<()>, OnRejectionLayer, TokenPropagation<()>)>();
};

#[test]
fn services_give_their_inner_service() {
    let auth = JwtAuthLayer::from_issuer("https://id.example.com/", "orders-api").unwrap();
    let mut service = tower::Layer::layer(&auth, 1);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (2, 2));
    let mut service = tower::Layer::layer(&IdentityHeadersLayer::new(), 1);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (2, 2));
}
