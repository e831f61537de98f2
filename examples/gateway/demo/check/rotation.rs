//! A new key signs and an old one goes, while requests are under way.

use std::fmt::{self, Display};
use std::time::Duration;

use tokio::task::JoinSet;

use super::super::Places;
use super::super::auth_service::ALICE;
use super::Problem;
use super::visitor::{Answer, Token, Visitor};

/// The token that the new key signed.
pub(super) struct Rotated(pub(super) Token);

/// How many requests each key signs for.
const REQUESTS: usize = 100;

/// How long a gateway may go on to trust a removed key, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);

/// The key changes under requests that the old one signed, and those of both go on together. None may be refused.
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

/// What the issuer no longer publishes is refused as soon as the gateway's copy has ended. The new key goes on.
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
    let refused = refused.map_err(|_| "the old token was still good after 4 seconds")??;
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
