//! The caller of a request, which authentication provides and the other layers read.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::SystemTime;

use http::{Extensions, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::claim_path::ClaimPath;
use crate::clock::system_time;
use crate::json::first_member;
use crate::names::Names;

/// The caller of a request, in the extensions of every request that passed `JwtAuthLayer`.
///
/// A request without a `Caller` was not authenticated by any layer. The layers below treat that as
/// a misconfiguration.
///
/// ```
/// use portcullis::Caller;
///
/// fn greeting<B>(request: &http::Request<B>) -> String {
///     match Caller::of(request.extensions()) {
///         Some(Caller::Verified(me)) => format!("hello {}", me.subject()),
///         Some(Caller::Anonymous) => "hello".to_owned(),
///         None => "JwtAuthLayer is missing".to_owned(),
///     }
/// }
/// # assert_eq!(greeting(&http::Request::new(())), "JwtAuthLayer is missing");
/// ```
#[derive(Clone, Debug)]
pub enum Caller {
    /// The request had a valid token.
    Verified(Identity),
    /// The request had no token, and the layer is [optional](crate::JwtAuthLayer::optional).
    Anonymous,
}

/// A verified caller.
///
/// Only verification creates an identity. Clones are cheap.
///
/// ```no_run
/// # fn handler(me: portcullis::Identity) {
/// for role in me.roles() {
///     println!("{} has the role {role}", me.subject());
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Identity {
    verified: Arc<Verified>,
    is_cached: bool,
    /// Set by the first reader of a claim. It belongs to the request, not to the token cache, whose
    /// memory is bounded.
    claims: OnceLock<Arc<ReadClaims>>,
}

/// The result of verifying a token.
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
    /// The claims: a JSON object that verification has read strictly.
    pub(crate) payload: Vec<u8>,
    pub(crate) bearer: Bearer,
    pub(crate) subject_hash: OnceLock<[u64; 2]>,
}

/// The claims that one request has read.
#[derive(Default)]
struct ReadClaims {
    first: OnceLock<Box<Member>>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// A top-level claim, in a list that only grows.
struct Member {
    name: Box<str>,
    value: Option<Value>,
    next: OnceLock<Box<Self>>,
}

/// The credential of a request. No other type holds the text of a token.
#[derive(Clone)]
pub(crate) struct Bearer(HeaderValue);

// === impl Caller ===

impl Caller {
    /// The caller of the request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The identity of a verified caller.
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
        Self {
            verified: Arc::new(verified),
            is_cached: false,
            claims: OnceLock::new(),
        }
    }

    /// The identity for another request with the same token.
    pub(crate) fn cached(&self) -> Self {
        Self {
            verified: Arc::clone(&self.verified),
            is_cached: true,
            claims: OnceLock::new(),
        }
    }

    pub(crate) fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// The issuer (`iss`): a configured one, or a [tenant](crate::Issuer::tenants) of one.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.verified.issuer
    }

    /// The subject (`sub`, or the [claim that replaces it](crate::Issuer::subject_claim)). It is
    /// unique per [`issuer`](Self::issuer) only.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.verified.subject
    }

    /// The client that the token was issued to (`azp`, otherwise `client_id`).
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.verified.client.as_deref()
    }

    /// The ID of the token (`jti`).
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.verified.token_id.as_deref()
    }

    /// The session that the token belongs to (`sid`).
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.verified.session.as_deref()
    }

    /// The ID of the key that signed the token (`kid`).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.verified.key_id.as_deref()
    }

    /// When the token was issued (`iat`).
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        self.verified.issued_at.map(system_time)
    }

    /// When the token expires (`exp`).
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        system_time(self.verified.expires_at)
    }

    /// The caller's roles.
    #[must_use]
    pub fn roles(&self) -> &Names {
        &self.verified.roles
    }

    /// The scopes of the token (RFC 8693 section 4.2).
    #[must_use]
    pub fn scopes(&self) -> &Names {
        &self.verified.scopes
    }

    /// The caller's permissions.
    #[must_use]
    pub fn permissions(&self) -> &Names {
        &self.verified.permissions
    }

    /// The claim at `path`.
    ///
    /// The top-level claim of the path is parsed once per request. To read many claims, use
    /// [`claims`](Self::claims).
    ///
    /// ```no_run
    /// # fn handler(me: portcullis::Identity) {
    /// let tenant = me.claim("tenant").and_then(|tenant| tenant.as_str());
    /// let city = me.claim(["address", "locality"]);
    /// # }
    /// ```
    #[must_use]
    pub fn claim(&self, path: impl Into<ClaimPath>) -> Option<&Value> {
        self.claim_at(&path.into())
    }

    pub(crate) fn claim_at(&self, path: &ClaimPath) -> Option<&Value> {
        path.find_by(|name| self.member(name))
    }

    /// The top-level claim `name`.
    pub(crate) fn member(&self, name: &str) -> Option<&Value> {
        let mut link = &self.read_claims().first;
        loop {
            // Appends this claim at the end of the list, unless another thread has appended another
            // claim first.
            let member = link.get_or_init(|| {
                // Verification has parsed the whole payload, so this lookup cannot fail for another
                // reason than an absent claim.
                let payload = std::str::from_utf8(&self.verified.payload).unwrap_or_default();
                Box::new(Member {
                    name: name.into(),
                    value: first_member(payload, name).ok().flatten(),
                    next: OnceLock::new(),
                })
            });
            if *member.name == *name {
                return member.value.as_ref();
            }
            link = &member.next;
        }
    }

    /// Deserializes the claims into an application type, once per request.
    ///
    /// ```no_run
    /// #[derive(serde::Deserialize)]
    /// struct Profile {
    ///     email: String,
    /// }
    ///
    /// # fn handler(me: portcullis::Identity) -> Result<(), serde_json::Error> {
    /// let profile = me.claims::<Profile>()?;
    /// println!("{}", profile.email);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the claims do not have the shape of the type.
    pub fn claims<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let typed = &self.read_claims().typed;
        let known = typed.get().cloned();
        if let Some(claims) = known.and_then(|any| any.downcast::<T>().ok()) {
            return Ok(claims);
        }
        let claims = Arc::new(serde_json::from_slice::<T>(&self.verified.payload)?);
        // Only the first type is kept.
        let _ = typed.set(Arc::clone(&claims) as _);
        Ok(claims)
    }

    /// Returns a pseudonym of the caller for logs: a keyed hash of issuer and subject. The key is
    /// new in every process, so logs cannot be searched for a known subject.
    #[must_use]
    pub fn pseudonym(&self) -> String {
        let [half, _] = self.subject_hash();
        format!("{half:016x}")
    }

    /// A keyed hash of issuer and subject, computed once per token. The key is new in every
    /// process.
    pub(crate) fn subject_hash(&self) -> [u64; 2] {
        static KEY: LazyLock<SipHasher13> = LazyLock::new(|| {
            let [one, other] = [0, 1].map(|half| RandomState::new().hash_one(half));
            SipHasher13::new_with_keys(one, other)
        });
        *self.verified.subject_hash.get_or_init(|| {
            let mut hasher = *KEY;
            (self.issuer(), self.subject()).hash(&mut hasher);
            let hash = hasher.finish128();
            [hash.h1, hash.h2]
        })
    }

    pub(crate) fn issued_at_secs(&self) -> Option<u64> {
        self.verified.issued_at
    }

    pub(crate) fn expires_at_secs(&self) -> u64 {
        self.verified.expires_at
    }

    /// Returns the size of the cached part of this identity in bytes. That part never grows.
    pub(crate) fn heap_bytes(&self) -> usize {
        let verified = &*self.verified;
        let optional = [
            &verified.client,
            &verified.token_id,
            &verified.session,
            &verified.key_id,
        ];
        let texts = optional.map(|text| text.as_deref().map_or(0, str::len));
        let lists = [&verified.roles, &verified.scopes, &verified.permissions];
        size_of::<Verified>()
            + verified.bearer.0.len()
            + verified.payload.capacity()
            + verified.subject.len()
            + texts.iter().sum::<usize>()
            + lists.map(Names::heap_bytes).iter().sum::<usize>()
    }

    pub(crate) fn bearer(&self) -> &Bearer {
        &self.verified.bearer
    }

    fn read_claims(&self) -> &ReadClaims {
        self.claims.get_or_init(Arc::default)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("issuer", &self.verified.issuer)
            .field("subject", &self.verified.subject)
            .finish_non_exhaustive()
    }
}

// === impl Bearer ===

impl Bearer {
    pub(crate) const SCHEME: &'static str = "Bearer ";

    /// Creates a credential from an `Authorization` value: the scheme `Bearer` in any case, one
    /// space and the token.
    pub(crate) fn new(mut authorization: HeaderValue) -> Self {
        authorization.set_sensitive(true);
        Self(authorization)
    }

    /// Copies the credential into its own memory. The original shares the larger buffer that the
    /// server read the request into.
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

    /// The value for an outgoing `Authorization` header, with the scheme as RFC 6750 spells it.
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
            subject_hash: OnceLock::new(),
        }
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
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
    fn claims_are_read_once_per_request() {
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
        assert_eq!(identity.claim("absent"), None);
        let deep = identity.claim("deep").unwrap();
        assert!(std::ptr::eq(deep, identity.clone().claim("deep").unwrap()));
        // Another request parses for itself, so that the token cache does not grow.
        let other = identity.cached();
        assert!(!std::ptr::eq(deep, other.claim("deep").unwrap()));
        assert!(!Arc::ptr_eq(&first, &other.claims::<Mine>().unwrap()));
    }
}
