//! Which test drives which key of the sample configuration. A key without one fails here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A key, as the sample has it, and a test that sees its effect in the running program.
#[rustfmt::skip]
const DRIVEN: &[(&str, &str)] = &[
    ("listen", "protocols::http_2_needs_no_tls_where_the_client_knows"),
    ("admin_listen", "admin::operators_learn_whether_it_is_ready_and_what_it_does"),
    ("trusted_proxies", "headers::a_trusted_proxy_is_believed_and_added_to"),
    ("realm", "issuers::a_token_comes_in_one_place_of_those_that_are_configured"),
    ("request_timeout", "routes::an_upstream_that_is_slow_or_away_is_told_of_in_the_clients_protocol"),
    ("max_body", "routes::a_body_that_is_too_large_never_arrives_as_a_whole"),
    ("log", "log::how_much_is_logged_can_be_changed_while_it_runs"),
    ("cors_preflight", "access::preflights_pass_only_where_they_may_and_only_true_ones"),
    ("tls.cert", "tls::tls_stands_in_front_and_its_certificate_can_be_replaced"),
    ("tls.key", "tls::tls_stands_in_front_and_its_certificate_can_be_replaced"),
    ("tls.client_ca", "tls::where_clients_need_certificates_only_those_of_the_authority_get_in"),
    ("issuers.issuer", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.jwks_uri", "keys::a_private_authority_vouches_for_the_keys_of_the_issuer_that_names_it"),
    ("issuers.jwks_file", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.public_key_file", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.secret", "issuers::a_type_that_the_issuer_does_not_make_is_refused"),
    ("issuers.secret_base64", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.ca", "keys::a_private_authority_vouches_for_the_keys_of_the_issuer_that_names_it"),
    ("issuers.audiences", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.algorithms", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.token_types", "issuers::a_type_that_the_issuer_does_not_make_is_refused"),
    ("issuers.required_claims", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.leeway", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.max_token_bytes", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.profile", "profiles::each_profile_reads_the_tokens_of_its_issuer"),
    ("issuers.subject_claim", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.roles_claim", "issuers::keys_come_from_wherever_the_configuration_says"),
    ("issuers.permissions_claim", "profiles::a_claim_that_is_named_wins_over_the_profile"),
    ("issuers.jwks.default_ttl", "keys::default_ttl_counts_where_the_issuer_says_nothing"),
    ("issuers.jwks.min_ttl", "keys::min_ttl_and_max_ttl_bound_what_the_issuer_says"),
    ("issuers.jwks.max_ttl", "keys::min_ttl_and_max_ttl_bound_what_the_issuer_says"),
    ("issuers.jwks.cooldown", "keys::cooldown_says_how_often_strangers_cause_a_fetch"),
    ("issuers.jwks.timeout", "keys::timeout_ends_a_fetch_that_hangs"),
    ("issuers.jwks.max_stale", "keys::max_stale_says_how_long_old_keys_serve"),
    ("token_sources.cookie", "issuers::a_token_comes_in_one_place_of_those_that_are_configured"),
    ("token_sources.websocket_protocol", "issuers::a_token_comes_in_one_place_of_those_that_are_configured"),
    ("token_cache.max_bytes", "issuers::verified_tokens_are_remembered_where_there_is_room"),
    ("identity_headers.x-user-id", "headers::no_spelling_of_a_header_passes_for_the_gateways_own"),
    ("identity_headers.x-user-roles", "profiles::each_profile_reads_the_tokens_of_its_issuer"),
    ("identity_headers.x-user-scopes", "profiles::each_profile_reads_the_tokens_of_its_issuer"),
    ("identity_headers.x-consumer", "access::consumers_are_known_by_name_and_may_be_let_in_or_kept_out"),
    ("consumers.name", "access::consumers_are_known_by_name_and_may_be_let_in_or_kept_out"),
    ("consumers.client", "access::consumers_are_known_by_name_and_may_be_let_in_or_kept_out"),
    ("consumers.plan", "limits::a_consumers_plan_says_how_much"),
    ("plans.pro.requests", "limits::a_consumers_plan_says_how_much"),
    ("plans.pro.per", "limits::a_consumers_plan_says_how_much"),
    ("plans.pro.burst", "limits::a_consumers_plan_says_how_much"),
    ("rate_limit_store.kind", "stores::two_gateways_count_together_where_they_share_a_server_and_a_secret"),
    ("rate_limit_store.url", "stores::two_gateways_count_together_where_they_share_a_server_and_a_secret"),
    ("rate_limit_store.secret", "stores::two_gateways_count_together_where_they_share_a_server_and_a_secret"),
    ("rate_limit_store.mode", "stores::leased_permits_exceed_a_quota_by_no_more_than_is_stated"),
    ("rate_limit_store.on_error", "stores::without_the_server_each_policy_decides_as_it_says_and_the_server_is_used_again"),
    ("rate_limit_store.expected_nodes", "stores::without_the_server_each_policy_decides_as_it_says_and_the_server_is_used_again"),
    ("failed_auth_limit.requests", "limits::an_address_that_guesses_is_stopped_and_nobody_else"),
    ("failed_auth_limit.per", "limits::an_address_that_guesses_is_stopped_and_nobody_else"),
    ("revocation.kind", "revocations::what_is_revoked_is_refused_at_once_and_after_a_reload"),
    ("routes.path", "routes::path_host_and_methods_choose_a_route"),
    ("routes.host", "routes::path_host_and_methods_choose_a_route"),
    ("routes.methods", "routes::path_host_and_methods_choose_a_route"),
    ("routes.upstream", "routes::path_host_and_methods_choose_a_route"),
    ("routes.upstream_ca", "tls::an_upstream_behind_tls_is_verified"),
    ("routes.upstream_host", "routes::a_host_goes_to_the_upstream_as_the_route_says_and_redirects_come_back"),
    ("routes.timeout", "routes::an_upstream_that_is_slow_or_away_is_told_of_in_the_clients_protocol"),
    ("routes.require", "access::requirements_hold_for_a_route_and_for_a_method"),
    ("routes.require_for", "access::requirements_hold_for_a_route_and_for_a_method"),
    ("routes.consumers", "access::consumers_are_known_by_name_and_may_be_let_in_or_kept_out"),
    ("routes.rate_limits", "limits::callers_addresses_and_routes_are_counted_apart"),
    ("routes.propagate", "access::a_token_goes_where_the_route_forwards_it_and_nowhere_else"),
    ("routes.mode", "access::report_mode_decides_and_lets_through_and_authenticates_all_the_same"),
    ("routes.public", "headers::no_spelling_of_a_header_passes_for_the_gateways_own"),
];

/// Keys that change nothing: read and checked at start-up, or refused there as not supported yet.
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

/// The keys of the sample, those in comments too.
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
fn each_key_of_the_sample_is_driven_by_a_test_through_the_program() {
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
        // A key that is the harness's stands there.
        let harness = fs::read_to_string("tests/gateway/harness.rs").unwrap();
        let own = key.rsplit('.').next().unwrap();
        let is_named = [source, harness].iter().any(|text| text.contains(own));
        assert!(is_named, "{key} is nowhere in {module}");
    }
}

#[test]
fn a_fork_needs_what_the_page_lists_and_nothing_else() {
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
            is_own || name == "portcullis",
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
        // `axum::http` and `tokio_rustls::rustls` are no crates of their own here.
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
