//! Checks which identity headers the upstreams receive.

use std::fmt::{self, Display};

use serde_json::{Map, Value};

use super::Problem;
use super::visitor::{Answer, Token, Visitor};

/// The identity headers that an upstream received, in any spelling.
pub(super) struct Seen(Vec<(String, String)>);

/// Spellings that some upstream treats as the same header.
const SPOOFED: [(&str, &str); 9] = [
    ("x-user-id", "mallory"),
    ("x_user_id", "mallory"),
    ("x.user.id", "mallory"),
    ("x-user_id", "mallory"),
    ("x-user-roles", "root"),
    ("x_user_roles", "root"),
    ("x-user.roles", "root"),
    ("x_user_scopes", "everything"),
    ("x-forwarded-for", "192.0.2.1"),
];

/// The identity arrives in headers; the token does not.
pub(super) async fn set(visitor: &Visitor, alice: &Token) -> Result<Seen, Problem> {
    let answer = visitor.get("/api/admin", Some(alice), &[]).await?;
    let seen = Seen::by("admin", answer)?;
    seen.are(&[
        ("x-user-id", "alice"),
        ("x-user-roles", "admin"),
        ("x-user-scopes", "orders:read,orders:write"),
    ])
}

pub(super) async fn removed(visitor: &Visitor, bob: &Token) -> Result<Seen, Problem> {
    let answer = visitor.get("/api/orders", Some(bob), &SPOOFED).await?;
    let seen = Seen::by("orders", answer)?;
    seen.are(&[
        ("x-user-id", "bob"),
        ("x-user-roles", "reader"),
        ("x-user-scopes", "orders:read"),
    ])
}

/// A public route receives no identity headers at all, neither forged ones nor any from a
/// token that is sent anyway.
pub(super) async fn removed_in_public(visitor: &Visitor, bob: &Token) -> Result<Seen, Problem> {
    let answer = visitor.get("/public", Some(bob), &SPOOFED).await?;
    Seen::by("orders", answer)?.are(&[])
}

// === impl Seen ===

impl Seen {
    /// Reads the echo of a service, and ignores headers that every gateway adds.
    fn by(service: &str, answer: Answer) -> Result<Self, Problem> {
        let mut answer = answer.succeeded_at(service)?;
        let headers = answer.body["headers"].take();
        let headers: Map<String, Value> = serde_json::from_value(headers)?;
        let mut seen = Vec::new();
        for (name, value) in headers {
            let value = value.as_str().unwrap_or_default().to_owned();
            let plain = name.replace(['_', '.'], "-");
            if plain == "authorization" {
                return Err("the token reached the upstream".into());
            }
            if plain == "x-forwarded-for" && value != "127.0.0.1" {
                return Err(format!("the upstream believes the caller to be {value}").into());
            }
            if plain.starts_with("x-user-") {
                seen.push((name, value));
            }
        }
        Ok(Self(seen))
    }

    /// Expects exactly these headers, in this spelling.
    fn are(self, expected: &[(&str, &str)]) -> Result<Self, Problem> {
        let seen = self.0.iter().map(|(name, value)| (&**name, &**value));
        if seen.eq(expected.iter().copied()) {
            return Ok(self);
        }
        Err(format!("expected {expected:?}, the upstream received {self}").into())
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no header about the caller, no Authorization");
        }
        for (name, value) in &self.0 {
            write!(f, "{name}: {value}; ")?;
        }
        f.write_str("no Authorization")
    }
}
