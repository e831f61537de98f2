//! Runs the examples as their readers do. It ends them as a Unix shell does.
#![cfg(unix)]

#[path = "demo/alone.rs"]
mod alone;
#[path = "demo/curl.rs"]
mod curl;
#[path = "demo/forwarding.rs"]
mod forwarding;
#[path = "support/process.rs"]
mod process;

use process::{Ended, run};

#[track_caller]
fn check_without(part: &str, step: &str) {
    let Ended { code, stderr, .. } = run("gateway", &["--demo-check", "--break", part]);
    assert_eq!(code, Some(1), "{part}: {stderr}");
    let named = format!("step `{step}` failed");
    assert!(stderr.contains(&named), "{part}: {stderr}");
}

#[track_caller]
fn check_example(name: &str, arguments: &[&str]) {
    let Ended { code, stderr, .. } = run(name, arguments);
    assert_eq!(code, Some(0), "{name}: {stderr}");
}

#[test]
fn the_demonstration_goes_as_it_should() {
    let Ended {
        code,
        stdout,
        stderr,
    } = run("gateway", &["--demo-check"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for told in [
        "401 missing_token",
        "401 bad_signature",
        "200 from orders",
        "403 insufficient_scope",
        "429 rate_limited",
        "retry-after: ",
        "x-user-id: alice",
        "none refused",
        "401 unknown_key",
    ] {
        assert!(stdout.contains(told), "{told}: {stdout}");
    }
}

#[test]
fn the_walk_notices_that_nobody_authenticates() {
    check_without("auth", "no token");
}

#[test]
fn the_walk_notices_that_nobody_asks_for_roles() {
    check_without("role", "wrong role");
}

#[test]
fn the_walk_notices_that_nobody_limits() {
    check_without("limit", "limit by subject");
}

#[test]
fn the_walk_notices_that_headers_pass_as_they_are() {
    check_without("headers", "identity headers");
}

#[test]
fn the_walk_notices_that_keys_are_never_asked_for_again() {
    check_without("rotation", "removed key");
}

#[test]
fn the_axum_example_ends_well() {
    check_example("axum_api", &["--check"]);
}

#[test]
fn the_tonic_example_ends_well() {
    check_example("tonic_service", &[]);
}

#[test]
fn the_propagation_example_ends_well() {
    check_example("downstream_call", &[]);
}

#[test]
fn the_example_of_a_client_of_one_s_own_ends_well() {
    check_example("own_key_client", &[]);
}

#[test]
fn production_example_succeeds() {
    check_example("axum_production", &["--check"]);
}
