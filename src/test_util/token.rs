//! A token that a test builds.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::error::ConfigError;
use crate::identity::{Caller, Identity};
use crate::issue::{KeyRing, SigningKey};
use crate::jwks::{JwksCache, JwksSource, KeySet};
use crate::jwt::{Issuer, JwtAuthLayer};

const LIFETIME: Duration = Duration::from_secs(300);

/// A token that a test builds and [signs](Self::sign). It is valid at first; each method changes
/// one property.
///
/// Times are whole seconds, relative to the call of
/// [`TestIssuer::token`](super::TestIssuer::token).
#[derive(Clone, Debug)]
#[must_use = "a token does nothing unless it is signed or becomes an identity"]
pub struct TestToken {
    ring: KeyRing,
    clock: Clock,
    now: u64,
    claims: Map<String, Value>,
    /// Header parameters to set, or to leave out (`None`).
    header: BTreeMap<String, Option<Value>>,
    flaw: Flaw,
    /// Keeps the server of the issuer running.
    _server: Arc<dyn Any + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    Tampered,
    AlgNone,
    UnknownSigner,
}

// === impl TestToken ===

impl TestToken {
    pub(super) fn new(ring: KeyRing, clock: Clock, server: Arc<dyn Any + Send + Sync>) -> Self {
        let now = clock.unix_time().as_secs();
        let token = Self {
            ring,
            clock,
            now,
            claims: Map::new(),
            header: BTreeMap::new(),
            flaw: Flaw::None,
            _server: server,
        };
        token.claim("iat", now).expires_in(LIFETIME)
    }

    /// Sets `aud` to one audience. For several, use `.claim("aud", ["a", "b"])`.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `iss`, as a token of another issuer has it.
    pub fn issued_by(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// Adds one role to the claim `roles`.
    pub fn role(self, role: &str) -> Self {
        self.push("roles", role)
    }

    /// Adds roles to the claim `roles`.
    pub fn roles(self, roles: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let add = |token: Self, role| token.role(AsRef::<str>::as_ref(&role));
        roles.into_iter().fold(self, add)
    }

    /// Adds one scope to the claim `scope`, which separates scopes by spaces (RFC 8693 section
    /// 4.2).
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

    /// Removes a claim.
    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    /// Sets `exp`.
    pub fn expires_in(self, lifetime: Duration) -> Self {
        let exp = self.now.saturating_add(lifetime.as_secs());
        self.claim("exp", exp)
    }

    /// Makes the token expire an hour ago, which is longer than any sensible leeway.
    pub fn expired(self) -> Self {
        let exp = self.now.saturating_sub(3600);
        let iat = exp.saturating_sub(LIFETIME.as_secs());
        self.claim("iat", iat).claim("exp", exp)
    }

    /// Sets `nbf`.
    pub fn not_before_in(self, wait: Duration) -> Self {
        let nbf = self.now.saturating_add(wait.as_secs());
        self.claim("nbf", nbf)
    }

    /// Sets `kid` in the header. The issuer's signing key still signs.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Removes `kid` from the header.
    pub fn without_kid(self) -> Self {
        self.without_header("kid")
    }

    /// Sets `typ` in the header. The default is `at+jwt`.
    pub fn typ(self, typ: &str) -> Self {
        self.header("typ", typ)
    }

    /// Sets a header parameter to any value, for example `crit`, `jku`, `jwk` or another `alg`.
    ///
    /// # Panics
    ///
    /// If `value` does not serialize to JSON.
    #[track_caller]
    pub fn header(mut self, name: &str, value: impl Serialize) -> Self {
        self.header.insert(name.to_owned(), Some(to_json(value)));
        self
    }

    /// Removes a header parameter.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.insert(name.to_owned(), None);
        self
    }

    /// Adds a claim after the token was signed. Of this, [`alg_none`](Self::alg_none) and
    /// [`signed_by_stranger`](Self::signed_by_stranger), the last call takes effect.
    pub fn tampered(mut self) -> Self {
        self.flaw = Flaw::Tampered;
        self
    }

    /// Sets `alg: none` and removes the signature (RFC 7519 section 6).
    pub fn alg_none(mut self) -> Self {
        self.flaw = Flaw::AlgNone;
        self
    }

    /// Signs with an unpublished key of the same algorithm, under the `kid` of the issuer's key.
    pub fn signed_by_stranger(mut self) -> Self {
        self.flaw = Flaw::UnknownSigner;
        self
    }

    /// The text of the token, signed by the current signing key.
    ///
    /// # Panics
    ///
    /// If the crypto backend fails.
    #[must_use]
    #[track_caller]
    #[allow(clippy::expect_used)] // documented: a test cannot handle it
    pub fn sign(self) -> String {
        let own = self.ring.signing_key();
        let header = Value::Object(self.header_json(&own)).to_string();
        let payload = Value::Object(self.claims.clone()).to_string();
        let key = match self.flaw {
            Flaw::UnknownSigner => KeyRing::generate(own.algorithm())
                .expect("a key")
                .signing_key(),
            Flaw::None | Flaw::Tampered | Flaw::AlgNone => own,
        };
        let token = key
            .sign(header.as_bytes(), payload.as_bytes())
            .expect("a signature");
        match self.flaw {
            Flaw::None | Flaw::UnknownSigner => token,
            Flaw::Tampered => with_payload(&token, &self.claim("tampered", true).claims),
            Flaw::AlgNone => without_signature(&token),
        }
    }

    /// The identity that [`JwtAuthLayer`] with default settings finds in this token. No key is
    /// fetched: the token is verified with the issuer's current keys.
    ///
    /// ```
    /// let alice = portcullis::test_util::identity("alice").role("admin").into_identity();
    /// assert!(alice.roles().contains("admin"));
    /// ```
    ///
    /// # Panics
    ///
    /// If the token is not valid.
    #[must_use]
    #[track_caller]
    #[allow(clippy::panic)] // documented: misuse by a test
    pub fn into_identity(self) -> Identity {
        match self.authenticate() {
            Ok(identity) => identity,
            Err(problem) => panic!("the token makes no identity: {problem}"),
        }
    }

    /// As [`into_identity`](Self::into_identity), in the form that layers and extractors find in
    /// the extensions of a request.
    ///
    /// ```
    /// use portcullis::{Caller, test_util::identity};
    ///
    /// let mut request = http::Request::new(());
    /// request.extensions_mut().insert(identity("alice").scope("orders:read").into_caller());
    /// assert!(Caller::of(request.extensions()).is_some());
    /// ```
    ///
    /// # Panics
    ///
    /// If the token is not valid.
    #[must_use]
    #[track_caller]
    pub fn into_caller(self) -> Caller {
        Caller::Verified(self.into_identity())
    }

    fn authenticate(self) -> Result<Identity, Box<dyn std::error::Error>> {
        let text = |name| match self.claims.get(name) {
            Some(Value::Array(list)) => list.first().and_then(Value::as_str).unwrap_or_default(),
            other => other.and_then(Value::as_str).unwrap_or_default(),
        };
        let (issuer, audience) = (text("iss").to_owned(), text("aud").to_owned());
        let layer = self.layer(&issuer, &audience)?;
        let identity = layer.verify_now(&self.sign());
        identity.map_err(|rejection| rejection.reason().code().into())
    }

    fn layer(&self, issuer: &str, audience: &str) -> Result<JwtAuthLayer, ConfigError> {
        let keys = KeySet::from_json(self.ring.jwks().as_bytes());
        let keys = keys.map_err(|_| ConfigError::MissingKeys {
            issuer: issuer.to_owned(),
        })?;
        let cache = JwksCache::new([JwksSource::keys(issuer, keys)])?;
        let issuer = Issuer::new(issuer).audience(audience).with_keys(cache);
        Ok(JwtAuthLayer::new([issuer])?.clock(self.clock.clone()))
    }

    fn header_json(&self, key: &SigningKey) -> Map<String, Value> {
        let mut header = Map::from_iter([
            ("alg".to_owned(), json!(key.algorithm().as_str())),
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

    /// Appends to the claim if it is a list, and replaces it otherwise.
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
#[allow(clippy::expect_used)] // documented: misuse by a test
fn to_json(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("a claim or header parameter that serializes to JSON")
}
