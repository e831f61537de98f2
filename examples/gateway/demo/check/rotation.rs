//! Rotates the signing key while requests are in progress.

use std::fmt::{self, Display};
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::Places;
use super::super::auth_service::ALICE;
use super::Problem;
use super::visitor::{Answer, Token, Visitor};

/// A token signed by the new key.
pub(super) struct Rotated(pub(super) Token);

/// The number of requests per key.
const REQUESTS: usize = 100;

/// How long the gateway may trust a removed key, and how often the check asks.
const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);

/// Rotates the key while requests with old tokens are in progress, then mixes both. No request may
/// be refused.
pub(super) async fn in_flight(
    visitor: &Visitor,
    places: &Places,
    old: &Token,
) -> Result<Rotated, Problem> {
    let mut requests = JoinSet::new();
    let mut ask = |token: &Token| {
        let (visitor, token) = (visitor.clone(), token.clone());
        requests.spawn(async move { visitor.get("/api/admin", Some(&token), &[]).await });
    };
    for _ in 0..REQUESTS / 2 {
        ask(old);
    }
    let operator = Visitor::http1(&places.gateway);
    operator
        .post(format!("{}/rotate", places.auth_service))
        .await?;
    let new = operator.log_in(ALICE).await?;
    for _ in 0..REQUESTS / 2 {
        ask(old);
        ask(&new);
        ask(&new);
    }
    while let Some(answer) = requests.join_next().await {
        answer??.succeeded_at("admin")?;
    }
    Ok(Rotated(new))
}

/// A key that the issuer no longer publishes is refused as soon as the gateway's copy expires. The
/// new key keeps working.
pub(super) async fn removed(
    visitor: &Visitor,
    places: &Places,
    old: &Token,
    new: &Token,
) -> Result<Answer, Problem> {
    let operator = Visitor::http1(&places.gateway);
    operator
        .post(format!("{}/retire", places.auth_service))
        .await?;
    let refused = async {
        loop {
            let answer = visitor.get("/api/admin", Some(old), &[]).await?;
            if answer.status != 200 {
                return answer.refused(401, "unknown_key");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await;
    let refused = refused.map_err(|_| "the old token was still accepted after 4 seconds")??;
    let answer = visitor.get("/api/admin", Some(new), &[]).await?;
    answer.succeeded_at("admin")?;
    Ok(refused)
}

// === impl Rotated ===

impl Display for Rotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = REQUESTS * 2;
        write!(
            f,
            "{all} requests, half by the old key and half by the new, none refused"
        )
    }
}
