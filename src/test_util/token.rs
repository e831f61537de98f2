//! A token in the making.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::issuer::TestIssuer;
use crate::issue::{KeyRing, SigningKey};

const LIFE: Duration = Duration::from_secs(300);

/// A token that [`sign`](Self::sign) makes text of. It starts out good; each method changes one thing about it.
///
/// Times are whole seconds, counted from when [`TestIssuer::token`] was called.
#[derive(Clone, Debug)]
#[must_use = "a token is text once it is signed"]
pub struct TestToken {
    issuer: TestIssuer,
    now: u64,
    claims: Map<String, Value>,
    /// What to set in the header, or to leave out of it.
    header: BTreeMap<String, Option<Value>>,
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Tampered,
    AlgNone,
    Stranger,
}

// === impl TestToken ===

impl TestToken {
    pub(super) fn new(issuer: TestIssuer, subject: &str, now: u64, number: u64) -> Self {
        let token = Self {
            now,
            claims: Map::new(),
            header: BTreeMap::new(),
            flaw: Flaw::None,
            issuer,
        };
        let (iss, aud) = (
            token.issuer.issuer().to_owned(),
            token.issuer.audience().to_owned(),
        );
        token
            .claim("iss", iss)
            .claim("aud", aud)
            .claim("sub", subject)
            .claim("iat", now)
            .claim("jti", format!("token-{number}"))
            .expires_in(LIFE)
    }

    /// Sets `aud` to one audience. Several of them are `.claim("aud", ["a", "b"])`.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `iss`, as if somebody else had issued it.
    pub fn issued_by(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// Adds one role to the claim `roles`.
    pub fn role(self, role: &str) -> Self {
        self.push("roles", role)
    }

    /// Adds roles to the claim `roles`.
    pub fn roles<'a>(self, roles: impl IntoIterator<Item = &'a str>) -> Self {
        roles.into_iter().fold(self, Self::role)
    }

    /// Adds to the claim `scope`, which is one string with blanks in between (RFC 8693 section 4.2).
    pub fn scope(self, scope: &str) -> Self {
        let scopes = match self.claims.get("scope").and_then(Value::as_str) {
            Some(before) => format!("{before} {scope}"),
            None => scope.to_owned(),
        };
        self.claim("scope", scopes)
    }

    /// Adds one permission to the claim `permissions`.
    pub fn permission(self, permission: &str) -> Self {
        self.push("permissions", permission)
    }

    /// Sets a claim to any value, of the right type or not.
    ///
    /// # Panics
    ///
    /// If `value` does not serialize to JSON.
    #[track_caller]
    pub fn claim(mut self, name: &str, value: impl Serialize) -> Self {
        self.claims.insert(name.to_owned(), to_json(value));
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    /// Sets `exp`.
    pub fn expires_in(self, life: Duration) -> Self {
        let exp = self.now.saturating_add(life.as_secs());
        self.claim("exp", exp)
    }

    /// A token of the usual life that ended an hour ago: further back than any sensible leeway.
    pub fn expired(self) -> Self {
        let exp = self.now.saturating_sub(3600);
        let iat = exp.saturating_sub(LIFE.as_secs());
        self.claim("iat", iat).claim("exp", exp)
    }

    /// Sets `nbf`.
    pub fn not_before_in(self, wait: Duration) -> Self {
        let nbf = self.now.saturating_add(wait.as_secs());
        self.claim("nbf", nbf)
    }

    /// Names another key in the header; the issuer's own still signs.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Leaves `kid` out of the header.
    pub fn without_kid(self) -> Self {
        self.without_header("kid")
    }

    /// Sets `typ` in the header, which is `at+jwt` otherwise.
    pub fn typ(self, typ: &str) -> Self {
        self.header("typ", typ)
    }

    /// Sets a header parameter to any value: `crit`, `jku`, `jwk`, or an `alg` that is not the key's.
    ///
    /// # Panics
    ///
    /// If `value` does not serialize to JSON.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl Serialize) -> Self {
        self.header.insert(name.to_owned(), Some(to_json(value)));
        self
    }

    /// Leaves a header parameter out.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.insert(name.to_owned(), None);
        self
    }

    /// Gets another claim after it was signed. Of this, [`alg_none`](Self::alg_none) and
    /// [`signed_by_stranger`](Self::signed_by_stranger) the last one counts.
    pub fn tampered(mut self) -> Self {
        self.flaw = Flaw::Tampered;
        self
    }

    /// States `alg: none` and has no signature (RFC 7519 section 6).
    pub fn alg_none(mut self) -> Self {
        self.flaw = Flaw::AlgNone;
        self
    }

    /// Signed by a key of the same algorithm that nobody published, under the issuer's `kid`.
    pub fn signed_by_stranger(mut self) -> Self {
        self.flaw = Flaw::Stranger;
        self
    }

    /// The token's text, signed by the key that signs now.
    ///
    /// # Panics
    ///
    /// If the cryptographic library fails.
    #[must_use]
    #[track_caller]
    #[allow(clippy::expect_used)] // documented, and not for a test to handle
    pub fn sign(self) -> String {
        let own = self.issuer.key_ring().signing_key();
        let header = Value::Object(self.header_json(&own)).to_string();
        let payload = Value::Object(self.claims.clone()).to_string();
        let key = match self.flaw {
            Flaw::Stranger => KeyRing::generate(own.algorithm())
                .expect("a key")
                .signing_key(),
            Flaw::None | Flaw::Tampered | Flaw::AlgNone => own,
        };
        let token = key
            .sign(header.as_bytes(), payload.as_bytes())
            .expect("a signature");
        match self.flaw {
            Flaw::None | Flaw::Stranger => token,
            Flaw::Tampered => with_payload(&token, &self.claim("tampered", true).claims),
            Flaw::AlgNone => without_signature(&token),
        }
    }

    fn header_json(&self, key: &SigningKey) -> Map<String, Value> {
        let mut header = Map::from_iter([
            ("alg".to_owned(), json!(key.algorithm().name())),
            ("kid".to_owned(), json!(key.kid())),
            ("typ".to_owned(), json!("at+jwt")),
        ]);
        for (name, value) in &self.header {
            match value {
                Some(value) => header.insert(name.clone(), value.clone()),
                None => header.remove(name),
            };
        }
        if self.flaw == Flaw::AlgNone {
            header.insert("alg".to_owned(), json!("none"));
        }
        header
    }

    /// What the claim held before is kept if it was a list.
    fn push(mut self, claim: &str, element: &str) -> Self {
        let mut list = match self.claims.remove(claim) {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        list.push(element.into());
        self.claim(claim, list)
    }
}

fn with_payload(token: &str, claims: &Map<String, Value>) -> String {
    let payload = URL_SAFE_NO_PAD.encode(Value::Object(claims.clone()).to_string());
    let header = token.split('.').next().unwrap_or_default();
    let signature = token.rsplit('.').next().unwrap_or_default();
    format!("{header}.{payload}.{signature}")
}

fn without_signature(token: &str) -> String {
    let (message, _) = token.rsplit_once('.').unwrap_or_default();
    format!("{message}.")
}

#[track_caller]
#[allow(clippy::expect_used)] // misuse by a test, and documented
fn to_json(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("a claim or header parameter that serializes to JSON")
}
