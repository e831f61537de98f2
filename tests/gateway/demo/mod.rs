//! Runs each example as a process, and stops it with a signal as a Unix shell does.

mod curl;
mod forwarding;
mod standalone;

use super::process::{Ended, run};

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
fn demonstration_succeeds() {
    let Ended {
        code,
        stdout,
        stderr,
    } = run("gateway", &["--demo-check"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    for received in [
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
        assert!(stdout.contains(received), "{received}: {stdout}");
    }
}

#[test]
fn self_test_detects_missing_authentication() {
    check_without("auth", "no token");
}

#[test]
fn self_test_detects_missing_role_check() {
    check_without("role", "wrong role");
}

#[test]
fn self_test_detects_missing_limits() {
    check_without("limit", "limit by subject");
}

#[test]
fn self_test_detects_unfiltered_headers() {
    check_without("headers", "identity headers");
}

#[test]
fn self_test_detects_missing_key_refresh() {
    check_without("rotation", "removed key");
}

#[test]
fn axum_example_succeeds() {
    check_example("axum_api", &["--check"]);
}

#[test]
fn tonic_example_succeeds() {
    check_example("tonic_service", &[]);
}

#[test]
fn propagation_example_succeeds() {
    check_example("downstream_call", &[]);
}

#[test]
fn own_key_client_example_succeeds() {
    check_example("own_key_client", &[]);
}

#[test]
fn production_example_succeeds() {
    check_example("axum_production", &["--check"]);
}

#[test]
fn own_error_body_example_succeeds() {
    check_example("own_error_body", &[]);
}
