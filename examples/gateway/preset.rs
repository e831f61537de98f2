//! Configurations that do not come from a file.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, Uri};
use portcullis::Profile;
use portcullis::client_address::TrustedProxies;

use crate::config::keys::ASYMMETRIC;
use crate::config::model::{
    Access, Allowance, ClaimPlace, Configuration, ConsumerFilter, CorsPreflight, IdentityHeader,
    IdentityValue, IssuerSettings, JwksSettings, KeySource, Limit, LimitKey, Mode, Place,
    Propagate, RateLimit, RateLimitStore, Route, UpstreamHost,
};

/// A configuration without routes. Identity headers carry the subject, roles and scopes.
pub(crate) fn configuration(listen: SocketAddr) -> Configuration {
    let header = |name, value| IdentityHeader {
        place: command_line(),
        name: HeaderName::from_static(name),
        value,
    };
    Configuration {
        listen,
        admin_listen: None,
        trusted_proxies: TrustedProxies::default(),
        realm: "api".to_owned(),
        request_timeout: Duration::from_secs(10),
        max_body: 100 * 1024 * 1024,
        token_cache: 64 * 1024 * 1024,
        log: "warn".to_owned(),
        cors_preflight: CorsPreflight::Authenticate,
        tls: None,
        issuers: Vec::new(),
        token_sources: Default::default(),
        identity_headers: vec![
            header("x-user-id", IdentityValue::Subject),
            header("x-user-roles", IdentityValue::Roles),
            header("x-user-scopes", IdentityValue::Scopes),
        ],
        consumers: Vec::new(),
        plans: Default::default(),
        rate_limit_store: RateLimitStore::Memory,
        failed_auth_limit: None,
        revocation: None,
        routes: Vec::new(),
        warnings: Vec::new(),
    }
}

pub(crate) fn issuer(issuer: &str, audience: &str, keys: KeySource) -> IssuerSettings {
    IssuerSettings {
        place: command_line(),
        issuer: issuer.to_owned(),
        keys,
        ca: None,
        audiences: vec![audience.to_owned()],
        algorithms: ASYMMETRIC.to_vec(),
        token_types: ["at+jwt", "JWT", ""].map(str::to_owned).into(),
        required_claims: Vec::new(),
        leeway: Duration::from_secs(60),
        max_token_bytes: 8192,
        profile: Profile::Generic,
        subject_claim: ClaimPlace(vec!["sub".to_owned()]),
        roles_claim: None,
        permissions_claim: None,
        jwks: JwksSettings::default(),
    }
}

/// A route that admits every verified caller.
pub(crate) fn route(path: &str, upstream: Uri) -> Route {
    Route {
        place: command_line(),
        path: path.to_owned(),
        host: None,
        methods: None,
        upstream,
        upstream_ca: None,
        upstream_host: UpstreamHost::Upstream,
        timeout: Duration::from_secs(10),
        access: Access::Verified {
            require: None,
            require_for: Vec::new(),
        },
        consumers: ConsumerFilter::Any,
        rate_limits: Vec::new(),
        propagate: Propagate::None,
        mode: Mode::Enforce,
    }
}

pub(crate) fn limit(
    name: &str,
    key: LimitKey,
    requests: u32,
    per: Duration,
    burst: u32,
) -> RateLimit {
    let count = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    RateLimit {
        place: command_line(),
        name: name.to_owned(),
        key,
        allowance: Allowance::Fixed(Limit {
            requests: count(requests),
            per,
            burst: count(burst),
        }),
    }
}

/// The place that errors name: these values were given on the command line.
fn command_line() -> Place {
    Place::Variable(Arc::from("the command line"))
}
