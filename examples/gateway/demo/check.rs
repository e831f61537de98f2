//! The self-test of the demonstration: acts as a client and stops at the first unexpected result.

mod headers;
mod rotation;
mod visitor;

use std::error::Error;
use std::fmt::{self, Display};
use std::future::Future;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Places;
use super::auth_service::{ALICE, BOB};
use visitor::{Answer, Token, Visitor};

/// A step with an unexpected result.
#[derive(Debug)]
pub(super) struct FailedStep {
    name: &'static str,
    problem: Problem,
}

/// Describes an unexpected result.
type Problem = Box<dyn Error + Send + Sync>;

/// More requests than the smallest quota admits.
const MANY: usize = 30;

/// Runs every step in order and prints its result.
pub(super) async fn walk(places: &Places) -> Result<(), FailedStep> {
    let visitor = Visitor::http1(&places.gateway);
    let modern = Visitor::http2(&places.gateway);

    let alice = step("log in, alice", visitor.log_in(ALICE)).await?;
    let bob = step("log in, bob", visitor.log_in(BOB)).await?;
    step("no token", no_token(&visitor)).await?;
    step("tampered token", tampered_token(&visitor, &bob)).await?;
    step("good token", good_token(&visitor, &bob)).await?;
    step("wrong role", wrong_role(&visitor, &bob)).await?;
    step("right role", right_role(&modern, &alice)).await?;
    step("identity headers", headers::set(&visitor, &alice)).await?;
    step("spoofed headers", headers::removed(&visitor, &bob)).await?;
    step(
        "spoofed, public",
        headers::removed_in_public(&visitor, &bob),
    )
    .await?;
    step("limit by subject", limit_by_subject(&visitor, &bob)).await?;
    step("another subject", another_subject(&visitor, &alice)).await?;
    step("limit by address", limit_by_address(&visitor)).await?;
    let new = rotation::in_flight(&modern, places, &alice);
    let new = step("key rotation", new).await?;
    step(
        "removed key",
        rotation::removed(&modern, places, &alice, &new.0),
    )
    .await?;
    Ok(())
}

async fn step<T: Display>(
    name: &'static str,
    step: impl Future<Output = Result<T, Problem>>,
) -> Result<T, FailedStep> {
    let shown = step.await.map_err(|problem| FailedStep { name, problem })?;
    println!("{name:<16} {shown}");
    Ok(shown)
}

async fn no_token(visitor: &Visitor) -> Result<Answer, Problem> {
    let answer = visitor.get("/api/orders", None, &[]).await?;
    answer
        .refused(401, "missing_token")?
        .has("www-authenticate")
}

/// Bob changes his role to admin and keeps the signature.
async fn tampered_token(visitor: &Visitor, bob: &Token) -> Result<Answer, Problem> {
    let mut parts: Vec<_> = bob.0.split('.').map(str::to_owned).collect();
    let payload = parts.get_mut(1).ok_or("a token without a payload")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&*payload)?)?;
    claims["roles"] = json!(["admin"]);
    *payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    let tampered = Token(parts.join("."));
    let answer = visitor.get("/api/admin", Some(&tampered), &[]).await?;
    answer
        .refused(401, "bad_signature")?
        .has("www-authenticate")
}

async fn good_token(visitor: &Visitor, bob: &Token) -> Result<Answer, Problem> {
    let path = "/api/orders/7?page=2&sort=%61";
    let answer = visitor.get(path, Some(bob), &[]).await?;
    let answer = answer.succeeded_at("orders")?;
    if answer.body["path"] != path {
        return Err(format!("the path changed before it reached {}", answer.body["path"]).into());
    }
    Ok(answer)
}

async fn wrong_role(visitor: &Visitor, bob: &Token) -> Result<Answer, Problem> {
    let answer = visitor.get("/api/admin", Some(bob), &[]).await?;
    answer.refused(403, "insufficient_scope")
}

async fn right_role(visitor: &Visitor, alice: &Token) -> Result<Answer, Problem> {
    let answer = visitor.get("/api/admin", Some(alice), &[]).await?;
    answer.succeeded_at("admin")
}

async fn limit_by_subject(visitor: &Visitor, bob: &Token) -> Result<Answer, Problem> {
    limited(visitor, "/api/orders", Some(bob)).await
}

/// Bob's used-up quota does not affect alice.
async fn another_subject(visitor: &Visitor, alice: &Token) -> Result<Answer, Problem> {
    let answer = visitor.get("/api/orders", Some(alice), &[]).await?;
    answer.succeeded_at("orders")
}

async fn limit_by_address(visitor: &Visitor) -> Result<Answer, Problem> {
    limited(visitor, "/public", None).await
}

async fn limited(visitor: &Visitor, path: &str, token: Option<&Token>) -> Result<Answer, Problem> {
    for _ in 0..MANY {
        let answer = visitor.get(path, token, &[]).await?;
        if answer.status == 429 {
            return answer.refused(429, "rate_limited")?.has("retry-after");
        }
        answer.succeeded_at("orders")?;
    }
    Err(format!("none of {MANY} concurrent requests was refused").into())
}

// === impl FailedStep ===

impl Display for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}` failed: {}", self.name, self.problem)
    }
}

impl Error for FailedStep {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.problem)
    }
}
