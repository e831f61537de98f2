//! The other crates, configured to check the same as this one: signature, `iss`, `aud`, `exp` and
//! `nbf`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use serde::Deserialize;
use tokio::runtime::Runtime;
use tower::{Layer, service_fn};

use crate::fixture::{AUDIENCE, Algorithm, ISSUER, Keys, Requests};
use crate::measure::Case;
use crate::trivial;

/// The claims that a service reads.
#[derive(Clone, Debug, Deserialize)]
#[allow(dead_code)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    scope: String,
    roles: Vec<String>,
    permissions: Vec<String>,
}

/// The same, in aliri's types.
#[derive(Clone, Debug, Deserialize)]
struct AliriClaims {
    iss: aliri::jwt::Issuer,
    aud: aliri::jwt::Audiences,
    sub: aliri::jwt::Subject,
    exp: aliri_clock::UnixTime,
    nbf: aliri_clock::UnixTime,
    scope: aliri_oauth2::Scope,
    #[allow(dead_code)]
    jti: String,
    #[allow(dead_code)]
    roles: Vec<String>,
    #[allow(dead_code)]
    permissions: Vec<String>,
}

#[derive(Clone, FromRef)]
struct Decoding {
    decoder: axum_jwt_auth::Decoder<Claims>,
}

/// The signature alone, by aws-lc with a parsed key, over the signed bytes of the tokens. The
/// tokens alternate, because branch prediction learns a repeated signature.
pub fn raw<'c>(keys: &Keys, algorithm: Algorithm, tokens: &[String]) -> Case<'c> {
    let key = keys.parsed(algorithm);
    let split = |token: &String| {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        (signed.to_owned(), BASE64URL.decode(signature).unwrap())
    };
    let signatures: Vec<_> = tokens.iter().map(split).collect();
    let mut next = 0;
    Case::new(format!("raw/verify/{}", algorithm.as_str()), move || {
        let (signed, signature) = &signatures[next];
        key.verify_sig(black_box(signed.as_bytes()), black_box(signature))
            .unwrap();
        next = (next + 1) % signatures.len();
    })
}

/// jwt-authorizer: jsonwebtoken 9 with ring.
pub fn jwt_authorizer<'c>(
    runtime: &Runtime,
    keys: &Keys,
    algorithm: Algorithm,
    requests: &Requests,
) -> Case<'c> {
    let validation = jwt_authorizer::Validation::new()
        .iss(&[ISSUER])
        .aud(&[AUDIENCE])
        .nbf(true);
    let builder = jwt_authorizer::JwtAuthorizer::<Claims>::from_jwks_text(&keys.jwks(algorithm));
    let authorizer = runtime.block_on(builder.validation(validation).build());
    let layer = jwt_authorizer::IntoLayer::into_layer(authorizer.unwrap());
    let service = layer.layer(service_fn(trivial07));
    let name = format!("jwt-authorizer/request/{}", algorithm.as_str());
    Case::calling(name, requests.clone(), axum07::body::Body::empty, service)
        .beyond("floor/service/1")
}

/// tower-oauth2-resource-server: jsonwebtoken 11, here with aws-lc; its default, RustCrypto, takes
/// several times as long.
pub fn tower_oauth2_resource_server<'c>(
    runtime: &Runtime,
    keys: &Keys,
    algorithm: Algorithm,
    requests: &Requests,
) -> Case<'c> {
    use tower_oauth2_resource_server::server::OAuth2ResourceServer;
    use tower_oauth2_resource_server::tenant::TenantConfiguration;
    use tower_oauth2_resource_server::validation::ClaimsValidationSpec;
    let checks = ClaimsValidationSpec::new()
        .iss(ISSUER)
        .exp(true)
        .nbf(true)
        .aud(&vec![AUDIENCE.to_owned()]);
    let tenant = TenantConfiguration::static_builder(keys.jwks(algorithm))
        .identifier(ISSUER)
        .audiences(&[AUDIENCE])
        .claims_validation(checks)
        .build()
        .unwrap();
    let builder = OAuth2ResourceServer::<Claims>::builder().add_tenant(tenant);
    let server = runtime.block_on(builder.build()).unwrap();
    let service = server.into_layer::<Body>().layer(service_fn(trivial));
    let name = format!(
        "tower-oauth2-resource-server/request/{}",
        algorithm.as_str()
    );
    Case::calling(name, requests.clone(), Body::empty, service).beyond("floor/service/1")
}

/// axum-jwt-auth: jsonwebtoken 10 with RustCrypto, as an extractor.
pub fn axum_jwt_auth<'c>(keys: &Keys, algorithm: Algorithm, requests: &Requests) -> Case<'c> {
    let set: jsonwebtoken10::jwk::JwkSet = serde_json::from_str(&keys.jwks(algorithm)).unwrap();
    let mut validation = jsonwebtoken10::Validation::new(algorithm.as_str().parse().unwrap());
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_nbf = true;
    let decoder = axum_jwt_auth::LocalDecoder::builder()
        .keys(vec![
            jsonwebtoken10::DecodingKey::from_jwk(&set.keys[0]).unwrap(),
        ])
        .validation(validation)
        .build()
        .unwrap();
    let handler = get(|claims: axum_jwt_auth::Claims<Claims>| async move {
        drop(black_box(claims));
        [(CONTENT_TYPE, "application/json")]
    });
    let router = Router::new()
        .route("/orders/{id}", handler)
        .with_state(Decoding {
            decoder: Arc::new(decoder),
        });
    let name = format!("axum-jwt-auth/request/{}", algorithm.as_str());
    Case::calling(name, requests.clone(), Body::empty, router).beyond("floor/router/1")
}

pub fn bare_router<'c>(name: &str, requests: &Requests) -> Case<'c> {
    let answer = || async { [(CONTENT_TYPE, "application/json")] };
    let router = Router::new().route("/orders/{id}", get(answer));
    Case::calling(name, requests.clone(), Body::empty, router)
}

/// aliri_tower: ring. Without OpenSSL it supports only RS256 of these algorithms.
pub fn aliri_tower<'c>(keys: &Keys, requests: &Requests) -> Case<'c> {
    let set: aliri::Jwks = serde_json::from_str(&keys.jwks(Algorithm::RS256)).unwrap();
    let checks = aliri::jwt::CoreValidator::default()
        .add_approved_algorithm(aliri::jwa::Algorithm::RS256)
        .check_expiration()
        .check_not_before()
        .add_allowed_audience(aliri::jwt::Audience::from_static(AUDIENCE))
        .require_issuer(aliri::jwt::Issuer::from_static(ISSUER));
    let layer = aliri_tower::Oauth2Authorizer::new()
        .with_claims::<AliriClaims>()
        .with_terse_error_handler()
        .jwt_layer::<Body>(aliri_oauth2::Authority::new(set, checks));
    let service = layer.layer(service_fn(trivial));
    Case::calling(
        "aliri_tower/request/RS256",
        requests.clone(),
        Body::empty,
        service,
    )
    .beyond("floor/service/1")
}

/// tower_governor by the address of the connection, without and with headers.
pub fn tower_governor<'c>(requests: &Requests) -> [Case<'c>; 2] {
    use tower_governor::GovernorLayer;
    use tower_governor::governor::GovernorConfigBuilder;
    let mut builder = GovernorConfigBuilder::default();
    builder.per_nanosecond(1).burst_size(u32::MAX);
    let without = GovernorLayer::new(builder.finish().unwrap()).layer(service_fn(trivial));
    let with = builder.use_headers().finish().unwrap();
    let with = GovernorLayer::new(with).layer(service_fn(trivial));
    [
        Case::calling(
            "tower_governor/limit/1",
            requests.clone(),
            Body::empty,
            without,
        )
        .beyond("floor/service/1"),
        Case::calling(
            "tower_governor/limit-with-headers/1",
            requests.clone(),
            Body::empty,
            with,
        )
        .beyond("floor/service/1"),
    ]
}

/// governor's keyed limiter without a service.
pub fn governor<'c>() -> Case<'c> {
    let quota = governor::Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap());
    let limiter = governor::RateLimiter::<u64, _, _>::dashmap(quota.allow_burst(NonZeroU32::MAX));
    Case::new("governor/limit/1", move || {
        assert!(limiter.check_key(black_box(&7)).is_ok());
    })
}

fn trivial07(
    request: Request<axum07::body::Body>,
) -> Ready<Result<Response<axum07::body::Body>, Infallible>> {
    drop(black_box(request));
    let mut response = Response::new(axum07::body::Body::empty());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    ready(Ok(response))
}

impl aliri::jwt::CoreClaims for AliriClaims {
    fn nbf(&self) -> Option<aliri_clock::UnixTime> {
        Some(self.nbf)
    }

    fn exp(&self) -> Option<aliri_clock::UnixTime> {
        Some(self.exp)
    }

    fn aud(&self) -> &aliri::jwt::Audiences {
        &self.aud
    }

    fn iss(&self) -> Option<&aliri::jwt::IssuerRef> {
        Some(&self.iss)
    }

    fn sub(&self) -> Option<&aliri::jwt::SubjectRef> {
        Some(&self.sub)
    }
}

impl aliri_oauth2::HasScope for AliriClaims {
    fn scope(&self) -> &aliri_oauth2::Scope {
        &self.scope
    }
}
