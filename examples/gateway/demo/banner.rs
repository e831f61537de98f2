//! The banner of the demonstration: commands that work unchanged in bash and in zsh.

use std::fmt;

use super::Places;
use super::auth_service::{ALICE, BOB};

/// Headings start at the margin; commands are indented. A heading names the status that its command
/// shows.
pub(super) struct Banner<'p>(pub(super) &'p Places);

/// Shows the response head, and adds a newline after the body.
const CURL: &str = r"curl -i -w '\n'";

// === impl Banner ===

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Places {
            gateway,
            auth_service,
            orders,
            admin,
        } = self.0;
        writeln!(f, "The gateway      {gateway}")?;
        writeln!(f, "the auth service {auth_service}")?;
        writeln!(f, "orders           {orders}")?;
        writeln!(f, "admin            {admin}")?;

        heading(f, "Get tokens for alice (role admin) and bob (role reader)")?;
        login(f, "ALICE", gateway, ALICE)?;
        login(f, "BOB", gateway, BOB)?;

        heading(f, "No token: 401 missing_token")?;
        writeln!(f, "  {CURL} {gateway}/api/orders")?;
        heading(
            f,
            "A valid token: 200, and the upstream receives the identity",
        )?;
        writeln!(
            f,
            "  {CURL} '{gateway}/api/orders?page=2' {}",
            bearer("BOB")
        )?;
        heading(f, "Bob's claims with alice's signature: 401 bad_signature")?;
        writeln!(
            f,
            "  {CURL} {gateway}/api/orders {}",
            bearer("{BOB%.*}.${ALICE##*.}")
        )?;
        heading(f, "The wrong role: 403 insufficient_scope")?;
        writeln!(f, "  {CURL} {gateway}/api/admin {}", bearer("BOB"))?;
        heading(f, "The right one: 200")?;
        writeln!(f, "  {CURL} {gateway}/api/admin {}", bearer("ALICE"))?;
        heading(
            f,
            "A public route: 200, and headers that claim to be alice are gone",
        )?;
        writeln!(
            f,
            "  {CURL} {gateway}/public -H 'X-User-Id: alice' -H 'X_User_Roles: admin' {}",
            bearer("BOB")
        )?;
        heading(f, "Over the rate limit: 429")?;
        writeln!(
            f,
            "  for n in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}}\\n' {gateway}/api/orders {}; done",
            bearer("ALICE")
        )?;
        heading(f, "A new key signs, the old one is still published: 200")?;
        writeln!(f, "  curl -X POST {auth_service}/rotate")?;
        writeln!(f, "  {CURL} {gateway}/api/admin {}", bearer("ALICE"))?;
        heading(f, "The old key is withdrawn: 401 unknown_key")?;
        writeln!(f, "  curl -X POST {auth_service}/retire")?;
        writeln!(
            f,
            "  sleep 2; {CURL} {gateway}/api/admin {}",
            bearer("ALICE")
        )?;
        writeln!(f, "\nPress Ctrl-C to stop.")
    }
}

fn heading(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    writeln!(f, "\n{text}")
}

fn login(
    f: &mut fmt::Formatter<'_>,
    variable: &str,
    gateway: &str,
    (user, password): (&str, &str),
) -> fmt::Result {
    let url = format!("{gateway}/auth/login");
    let accept = "-H 'Accept: text/plain' -H 'Content-Type: application/json'";
    let body = format!(r#"{{"user":"{user}","password":"{password}"}}"#);
    writeln!(f, "  {variable}=$(curl -s {url} {accept} -d '{body}')")
}

fn bearer(variable: &str) -> String {
    format!(r#"-H "Authorization: Bearer ${variable}""#)
}
