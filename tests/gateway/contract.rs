//! Lists the test of each key of the sample configuration. A key without a test fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A key of the sample, and the test that sees its effect in the running gateway.
#[rustfmt::skip]
const DRIVEN: &[(&str, &str)] = &[
    ("listen", "protocols::http2_works_with_prior_knowledge"),
    ("admin_listen", "admin::admin_listener_serves_readiness_and_metrics"),
    ("trusted_proxies", "headers::trusted_proxy_headers_are_extended"),
    ("realm", "issuers::token_comes_from_one_configured_source"),
    ("request_timeout", "routes::upstream_failure_uses_the_clients_protocol"),
    ("max_body", "routes::oversized_body_never_arrives_complete"),
    ("log", "log::log_level_changes_on_reload"),
    ("cors_preflight", "access::only_true_preflights_pass"),
    ("tls.cert", "tls::certificate_is_reloaded"),
    ("tls.key", "tls::certificate_is_reloaded"),
    ("tls.client_ca", "tls::client_certificates_are_verified"),
    ("issuers.issuer", "issuers::every_key_source_works"),
    ("issuers.jwks_uri", "keys::private_ca_applies_to_its_issuer"),
    ("issuers.jwks_file", "issuers::every_key_source_works"),
    ("issuers.public_key_file", "issuers::every_key_source_works"),
    ("issuers.secret", "issuers::unexpected_token_type_is_refused"),
    ("issuers.secret_base64", "issuers::every_key_source_works"),
    ("issuers.ca", "keys::private_ca_applies_to_its_issuer"),
    ("issuers.audiences", "issuers::every_key_source_works"),
    ("issuers.algorithms", "issuers::every_key_source_works"),
    ("issuers.token_types", "issuers::unexpected_token_type_is_refused"),
    ("issuers.required_claims", "issuers::every_key_source_works"),
    ("issuers.leeway", "issuers::every_key_source_works"),
    ("issuers.max_token_bytes", "issuers::every_key_source_works"),
    ("issuers.profile", "profiles::profile_reads_tokens_of_its_issuer"),
    ("issuers.subject_claim", "issuers::every_key_source_works"),
    ("issuers.roles_claim", "issuers::every_key_source_works"),
    ("issuers.permissions_claim", "profiles::named_claim_overrides_profile"),
    ("issuers.jwks.default_ttl", "keys::default_ttl_applies_without_cache_control"),
    ("issuers.jwks.min_ttl", "keys::min_and_max_ttl_bound_cache_control"),
    ("issuers.jwks.max_ttl", "keys::min_and_max_ttl_bound_cache_control"),
    ("issuers.jwks.cooldown", "keys::cooldown_limits_fetches_for_unknown_kids"),
    ("issuers.jwks.timeout", "keys::timeout_ends_a_fetch_that_hangs"),
    ("issuers.jwks.max_stale", "keys::max_stale_limits_use_of_old_keys"),
    ("token_sources.cookie", "issuers::token_comes_from_one_configured_source"),
    ("token_sources.websocket_protocol", "issuers::token_comes_from_one_configured_source"),
    ("token_cache.max_bytes", "issuers::token_cache_can_be_disabled"),
    ("identity_headers.x-user-id", "headers::spoofed_header_spellings_are_removed"),
    ("identity_headers.x-user-roles", "profiles::profile_reads_tokens_of_its_issuer"),
    ("identity_headers.x-user-scopes", "profiles::profile_reads_tokens_of_its_issuer"),
    ("identity_headers.x-consumer", "access::consumers_are_allowed_or_denied"),
    ("consumers.name", "access::consumers_are_allowed_or_denied"),
    ("consumers.client", "access::consumers_are_allowed_or_denied"),
    ("consumers.plan", "limits::plan_determines_the_quota"),
    ("plans.pro.requests", "limits::plan_determines_the_quota"),
    ("plans.pro.per", "limits::plan_determines_the_quota"),
    ("plans.pro.burst", "limits::plan_determines_the_quota"),
    ("rate_limit_store.kind", "stores::gateways_with_same_store_share_counts"),
    ("rate_limit_store.url", "stores::gateways_with_same_store_share_counts"),
    ("rate_limit_store.secret", "stores::gateways_with_same_store_share_counts"),
    ("rate_limit_store.mode", "stores::leases_overshoot_at_most_as_documented"),
    ("rate_limit_store.on_error", "stores::outage_policies_apply_until_store_returns"),
    ("rate_limit_store.expected_nodes", "stores::outage_policies_apply_until_store_returns"),
    ("failed_auth_limit.requests", "limits::failed_authentications_are_limited_per_address"),
    ("failed_auth_limit.per", "limits::failed_authentications_are_limited_per_address"),
    ("revocation.kind", "revocations::revocation_applies_at_once_and_survives_reload"),
    ("routes.path", "routes::path_host_and_method_select_route"),
    ("routes.host", "routes::path_host_and_method_select_route"),
    ("routes.methods", "routes::path_host_and_method_select_route"),
    ("routes.upstream", "routes::path_host_and_method_select_route"),
    ("routes.upstream_ca", "tls::upstream_certificate_is_verified"),
    ("routes.upstream_host", "routes::upstream_host_is_configurable_and_redirects_pass"),
    ("routes.timeout", "routes::upstream_failure_uses_the_clients_protocol"),
    ("routes.require", "access::requirements_apply_per_route_and_method"),
    ("routes.require_for", "access::requirements_apply_per_route_and_method"),
    ("routes.consumers", "access::consumers_are_allowed_or_denied"),
    ("routes.rate_limits", "limits::each_limit_key_counts_separately"),
    ("routes.propagate", "access::token_is_forwarded_only_where_configured"),
    ("routes.mode", "access::report_mode_authenticates_but_admits"),
    ("routes.public", "headers::spoofed_header_spellings_are_removed"),
];

/// Keys without effect at run time: checked at start-up, or rejected as unsupported.
const AT_START_UP: &[&str] = &[
    "revocation.url",
    "revocation.when_stale",
    "mint.issuer",
    "mint.key_file",
    "mint.ttl",
    "exchange.token_endpoint",
    "exchange.client_id",
    "exchange.client_secret",
    "routes.upstreams",
];

/// The keys of the sample, including those in comments.
fn keys() -> BTreeSet<String> {
    let sample = fs::read_to_string("examples/gateway/gateway.toml").unwrap();
    let mut keys = BTreeSet::new();
    let mut section = String::new();
    for line in sample.lines() {
        let line = line.trim_start_matches("#!").trim_start_matches('#').trim();
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = format!("{}.", name.trim_start_matches('['));
        }
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if key.bytes().all(is_key) {
            keys.insert(format!("{section}{key}"));
        }
    }
    keys
}

#[test]
fn each_sample_key_has_a_test() {
    let driven = DRIVEN.iter().map(|(key, _)| *key);
    let driven: Vec<&str> = driven.chain(AT_START_UP.iter().copied()).collect();
    let listed: BTreeSet<String> = driven.iter().map(|key| (*key).to_owned()).collect();
    assert_eq!(listed.len(), driven.len(), "a key is listed twice");
    assert_eq!(listed, keys());
    for (key, test) in DRIVEN {
        let (module, name) = test.split_once("::").unwrap();
        let source = fs::read_to_string(format!("tests/gateway/{module}.rs")).unwrap();
        let is_test = source.contains(&format!("async fn {name}("));
        assert!(is_test, "{key}: there is no {test}");
        // Keys that the harness sets.
        let harness = fs::read_to_string("tests/gateway/harness.rs").unwrap();
        let own = key.rsplit('.').next().unwrap();
        let is_named = [source, harness].iter().any(|text| text.contains(own));
        assert!(is_named, "{key} is nowhere in {module}");
    }
}

#[test]
fn readme_lists_exact_dependencies() {
    let own = fs::read_to_string("Cargo.toml").unwrap();
    let (_, own) = own.split_once("[dependencies]\n").unwrap();
    let (own, _) = own.split_once("[[example]]").unwrap();
    let page = fs::read_to_string("examples/gateway/README.md").unwrap();
    let listed = page.split_once("```toml\n[dependencies]\n").unwrap().1;
    let listed = listed.split_once("```").unwrap().0;
    let mut names = BTreeSet::new();
    for line in listed.lines().filter(|line| line.contains(" = ")) {
        let (name, _) = line.split_once(" = ").unwrap();
        names.insert(name.replace('-', "_"));
        let is_own = own.lines().any(|own| own == line);
        assert!(
            is_own || ["portcullis", "tokio"].contains(&name),
            "{line} is not in Cargo.toml"
        );
    }
    let sources = sources(Path::new("examples/gateway"));
    let is_named = |name: &str| {
        let path = format!("{name}::");
        let is_start = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let mut places = sources.match_indices(&path);
        places.any(|(at, _)| is_start(&sources[..at]))
    };
    for dependency in own.lines().filter_map(|line| line.split_once(" = ")) {
        let name = dependency.0.replace('-', "_");
        // `axum::http` and `tokio_rustls::rustls` are re-exports, not dependencies.
        let is_elsewhere = ["http", "bytes", "rustls", "aws_lc_rs"];
        if !is_elsewhere.contains(&&*name) && is_named(&name) {
            assert!(names.contains(&name), "{name} is missing");
        }
    }
    for name in &names {
        assert!(is_named(name), "nothing uses {name}");
    }
}

fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(kind) if kind == "rs" => fs::read_to_string(path).unwrap(),
        _ => String::new(),
    });
    texts.collect()
}
