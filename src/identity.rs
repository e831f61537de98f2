//! Who is calling: the one type in which the layers meet.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use http::{Extensions, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::claim_path::ClaimPath;
use crate::names::Names;

/// What authentication found, in the extensions of every request that passed `JwtAuthLayer`.
///
/// Its absence means that nothing authenticated the request, which every layer below treats as a misconfiguration.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The request bore a token, and the token holds.
    Verified(Identity),
    /// The request bore no token, and the layer was told to let such requests pass.
    Anonymous,
}

/// A verified caller.
///
/// Only a verified token makes one: there is no public constructor. A clone costs one reference count.
#[derive(Clone)]
pub struct Identity(Arc<Verified>, Origin);

/// Whether the token was verified for this request, or remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Verified,
    Remembered,
}

/// What verification found in a token.
pub(crate) struct Verified {
    pub(crate) issuer: Arc<str>,
    pub(crate) subject: Box<str>,
    pub(crate) client: Option<Box<str>>,
    pub(crate) token_id: Option<Box<str>>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) key_id: Option<Box<str>>,
    pub(crate) issued_at: Option<u64>,
    pub(crate) expires_at: u64,
    pub(crate) roles: Names,
    pub(crate) scopes: Names,
    pub(crate) permissions: Names,
    /// The claims as JSON text, verified and known to be an object.
    pub(crate) payload: Vec<u8>,
    pub(crate) bearer: Bearer,
    pub(crate) parsed: Parsed,
}

/// What was read from the payload on request, kept for the next reader.
#[derive(Default)]
pub(crate) struct Parsed {
    json: OnceLock<Value>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// What limits know the subject by in this process.
    counted_as: OnceLock<[u64; 2]>,
}

/// The credential of a request. The only place where a token's text lives.
#[derive(Clone)]
pub(crate) struct Bearer(HeaderValue);

// === impl Caller ===

impl Caller {
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The identity, if the caller is verified.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Verified(identity) => Some(identity),
            Self::Anonymous => None,
        }
    }
}

// === impl Identity ===

impl Identity {
    pub(crate) fn new(verified: Verified) -> Self {
        Self(Arc::new(verified), Origin::Verified)
    }

    /// The same caller, of a token that was verified before.
    pub(crate) fn remembered(&self) -> Self {
        Self(Arc::clone(&self.0), Origin::Remembered)
    }

    pub(crate) fn is_remembered(&self) -> bool {
        self.1 == Origin::Remembered
    }

    /// The issuer (`iss`): one that was configured, or that of a [tenant](crate::Issuer::tenants).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The subject (`sub`, or the claim that stands for it). It is unique only together with [`issuer`](Self::issuer).
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The client that the token was issued to (`azp`, else `client_id`).
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.0.client.as_deref()
    }

    /// The token's own name (`jti`).
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.0.token_id.as_deref()
    }

    /// When the token ends (`exp`), since the Unix epoch.
    #[must_use]
    pub fn expires_at(&self) -> Duration {
        Duration::from_secs(self.0.expires_at)
    }

    /// The caller's roles.
    #[must_use]
    pub fn roles(&self) -> &Names {
        &self.0.roles
    }

    /// The scopes that the token was granted (RFC 8693 section 4.2).
    #[must_use]
    pub fn scopes(&self) -> &Names {
        &self.0.scopes
    }

    /// The caller's permissions.
    #[must_use]
    pub fn permissions(&self) -> &Names {
        &self.0.permissions
    }

    /// The claim at `path`. All claims are parsed once, at the first call.
    #[must_use]
    pub fn claim(&self, path: impl Into<ClaimPath>) -> Option<&Value> {
        self.claim_at(&path.into())
    }

    pub(crate) fn claim_at(&self, path: &ClaimPath) -> Option<&Value> {
        path.find(self.json())
    }

    /// The claim of this name at the top level.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        self.json().as_object()?.get(name)
    }

    fn json(&self) -> &Value {
        let json = &self.0.parsed.json;
        // Verification has read every value of the payload with the same parser, so this never fails.
        json.get_or_init(|| serde_json::from_slice(&self.0.payload).unwrap_or_default())
    }

    /// The claims as a type of your own.
    ///
    /// They are read from the verified payload once per token; the next call for the same type shares the result.
    ///
    /// # Errors
    ///
    /// When the claims do not have the type's shape.
    pub fn claims<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let kept = self.0.parsed.typed.get().cloned();
        if let Some(claims) = kept.and_then(|any| any.downcast::<T>().ok()) {
            return Ok(claims);
        }
        let claims = Arc::new(serde_json::from_slice::<T>(&self.0.payload)?);
        // Keeping it is a favour to the next reader; one that asks for a second type reads for itself.
        let _ = self.0.parsed.typed.set(Arc::clone(&claims) as _);
        Ok(claims)
    }

    /// A pseudonym of the caller for logs: a hash of issuer and subject under a key that is new in every process, so that
    /// logs cannot be searched for a known subject.
    #[must_use]
    pub fn pseudonym(&self) -> String {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = KEY.hash_one((self.issuer(), self.subject()));
        format!("{hash:016x}")
    }

    /// The session that the token belongs to (`sid`).
    pub(crate) fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// The name of the key that signed the token (`kid`).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.as_deref()
    }

    pub(crate) fn issued_at(&self) -> Option<u64> {
        self.0.issued_at
    }

    /// What limits in this process know the subject by: made by the first that asks.
    pub(crate) fn counted_as(&self, make: impl FnOnce() -> [u64; 2]) -> [u64; 2] {
        *self.0.parsed.counted_as.get_or_init(make)
    }

    /// How many bytes the texts of the token take.
    pub(crate) fn text_bytes(&self) -> usize {
        // The lists repeat what the payload says.
        self.0.bearer.0.len() + 2 * self.0.payload.len()
    }

    pub(crate) fn bearer(&self) -> &Bearer {
        &self.0.bearer
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.0.issuer)
            .field("subject", &self.0.subject)
            .finish_non_exhaustive()
    }
}

// === impl Bearer ===

impl Bearer {
    pub(crate) const SCHEME: &'static str = "Bearer ";

    /// Takes an `Authorization` value whose scheme is `Bearer` in any case, followed by one space and the token.
    pub(crate) fn new(mut authorization: HeaderValue) -> Self {
        authorization.set_sensitive(true);
        Self(authorization)
    }

    /// The same in memory of its own. A server's buffer is larger than the header that was read from it, and whoever keeps
    /// the header keeps the buffer.
    pub(crate) fn copied(&self) -> Self {
        let copy = HeaderValue::from_bytes(self.0.as_bytes());
        copy.map_or_else(|_| self.clone(), Self::new)
    }

    pub(crate) fn token(&self) -> &[u8] {
        self.0
            .as_bytes()
            .get(Self::SCHEME.len()..)
            .unwrap_or_default()
    }

    /// The value for an outgoing `Authorization` header, the scheme spelled as RFC 6750 spells it.
    pub(crate) fn authorization(&self) -> HeaderValue {
        if self.0.as_bytes().starts_with(Self::SCHEME.as_bytes()) {
            return self.0.clone();
        }
        let mut bytes = Self::SCHEME.as_bytes().to_vec();
        bytes.extend_from_slice(self.token());
        let mut value = HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| self.0.clone());
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(redacted)")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A verified caller with these roles, scopes and permissions.
    pub(crate) fn caller(roles: &[&str], scopes: &[&str], permissions: &[&str]) -> Identity {
        Identity::new(Verified {
            roles: roles.iter().copied().collect(),
            scopes: scopes.iter().copied().collect(),
            permissions: permissions.iter().copied().collect(),
            ..verified()
        })
    }

    pub(crate) fn verified() -> Verified {
        Verified {
            issuer: "https://id.example.com/".into(),
            subject: "alice".into(),
            client: None,
            token_id: None,
            session: None,
            key_id: None,
            issued_at: None,
            expires_at: 0,
            roles: Names::default(),
            scopes: Names::default(),
            permissions: Names::default(),
            payload: br#"{"sub":"alice","deep":{"er":7}}"#.to_vec(),
            bearer: Bearer::new(HeaderValue::from_static("Bearer secret.token.text")),
            parsed: Parsed::default(),
        }
    }

    #[test]
    fn the_token_is_in_no_debug_output() {
        let bearer = Bearer::new(HeaderValue::from_static("bearer a.b.c"));
        assert_eq!(bearer.token(), b"a.b.c");
        assert_eq!(bearer.authorization(), "Bearer a.b.c");
        assert!(!format!("{bearer:?} {:?}", bearer.authorization()).contains("a.b.c"));
        let identity = caller(&[], &[], &[]);
        assert!(
            !format!("{identity:?} {:?}", Caller::Verified(identity.clone()))
                .contains("token.text")
        );
    }

    #[test]
    fn claims_are_read_once_per_type() {
        #[derive(serde::Deserialize)]
        struct Mine {
            sub: String,
        }
        let identity = caller(&[], &[], &[]);
        let first = identity.claims::<Mine>().unwrap();
        assert_eq!(first.sub, "alice");
        assert!(Arc::ptr_eq(&first, &identity.claims::<Mine>().unwrap()));
        assert_eq!(identity.claims::<Value>().unwrap()["deep"]["er"], 7);
        assert!(identity.claims::<Vec<u8>>().is_err());
        assert_eq!(identity.claim(["deep", "er"]), Some(&Value::from(7)));
    }
}
