//! The ring: the signing key, the staged key and the outgoing keys.

use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::error::IssueError;
use super::key::{PublicJwk, SigningKey};
use crate::algorithm::Algorithm;
use crate::sync::lock;

/// The `typ` of an access token (RFC 9068 section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// Keys that sign tokens, with their public halves published for verifiers. Clones share the keys.
///
/// Signing never waits: it reads a snapshot. The key ID is the key's thumbprint (RFC 7638), so two
/// keys never have the same ID.
///
/// The [module](crate::issue) describes the steps of a rotation and the waits between them.
#[derive(Clone)]
pub struct KeyRing(Arc<Shared>);

struct Shared {
    keys: ArcSwap<Keys>,
    /// Held while a snapshot is replaced, so that no change is lost. Keys are generated outside it.
    change: Mutex<()>,
}

#[derive(Clone)]
struct Keys {
    signing: Arc<SigningKey>,
    staged: Option<Arc<SigningKey>>,
    /// Published, oldest first. They no longer sign, so only their public halves are kept.
    outgoing: Vec<Arc<PublicJwk>>,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring with one new signing key. RSA keys have 2048 bits.
    ///
    /// Generating an RSA key takes some tenths of a second of CPU time. Call this,
    /// [`stage`](Self::stage) and [`rotate`](Self::rotate) in `spawn_blocking` in an async service.
    ///
    /// # Errors
    ///
    /// [`IssueError::Symmetric`] for an HMAC algorithm, [`IssueError::Crypto`] if the backend
    /// fails.
    pub fn generate(algorithm: Algorithm) -> Result<Self, IssueError> {
        Ok(Self(Arc::new(Shared {
            keys: ArcSwap::from_pointee(Keys {
                signing: Arc::new(SigningKey::generate(algorithm)?),
                staged: None,
                outgoing: Vec::new(),
            }),
            change: Mutex::new(()),
        })))
    }

    /// Signs an access token with `alg`, `kid` and `typ: at+jwt` (RFC 9068) in its header.
    ///
    /// The claims are signed unchanged: set `iss`, `aud`, `sub`, `iat`, `exp` and `jti` yourself.
    ///
    /// # Errors
    ///
    /// [`IssueError::Claims`] if `claims` do not serialize to a JSON object, [`IssueError::Crypto`]
    /// if the backend fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, IssueError> {
        self.sign_as(ACCESS_TOKEN, claims)
    }

    /// Signs a token of another type: `typ` is the media type without `application/`, for example
    /// `logout+jwt` (RFC 8725 section 3.11).
    ///
    /// ```
    /// use portcullis::{Algorithm, KeyRing};
    ///
    /// let ring = KeyRing::generate(Algorithm::EdDSA)?;
    /// let token = ring.sign_as("logout+jwt", &serde_json::json!({ "sub": "alice" }))?;
    /// # Ok::<(), portcullis::issue::IssueError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sign`](Self::sign).
    pub fn sign_as(&self, typ: &str, claims: &impl Serialize) -> Result<String, IssueError> {
        let payload = serde_json::to_vec(claims).map_err(|_| IssueError::Claims)?;
        if !payload.starts_with(b"{") {
            return Err(IssueError::Claims);
        }
        let key = self.signing_key();
        let header = Header {
            alg: key.algorithm().as_str(),
            kid: key.kid(),
            typ,
        };
        let header = serde_json::to_vec(&header).map_err(|_| IssueError::Crypto)?;
        key.sign(&header, &payload)
    }

    /// The JWKS document (RFC 7517 section 5). Keys have public members only, with `kid`, `alg` and
    /// `use: sig`.
    ///
    /// Serve it as `application/jwk-set+json` or `application/json`. Its `Cache-Control: max-age`
    /// must not be longer than the verifier TTL that the rotation assumes.
    #[must_use]
    pub fn jwks(&self) -> String {
        let keys = self.0.keys.load();
        let list: Vec<_> = keys.published().map(|key| key.json.as_str()).collect();
        format!(r#"{{"keys":[{}]}}"#, list.join(","))
    }

    /// Publishes the next key, which does not sign before [`promote`](Self::promote). Returns its
    /// ID.
    ///
    /// # Errors
    ///
    /// [`IssueError::AlreadyStaged`] if a key is staged, and the errors of
    /// [`generate`](Self::generate).
    pub fn stage(&self, algorithm: Algorithm) -> Result<String, IssueError> {
        self.refuse_a_second_staged_key()?;
        let key = Arc::new(SigningKey::generate(algorithm)?);
        let kid = key.kid().to_owned();
        self.change(|keys| keys.stage(key))?;
        Ok(kid)
    }

    /// Makes the staged key the signing key. Returns the ID of the previous signing key, which
    /// stays published. [Retire](Self::retire) it when its last token has expired.
    ///
    /// # Errors
    ///
    /// [`IssueError::NothingStaged`] if no key is staged.
    pub fn promote(&self) -> Result<String, IssueError> {
        self.change(Keys::promote)
    }

    /// Stages and promotes a new key in one step, without time for verifiers to fetch it. Use it
    /// after a leak, or if every verifier fetches keys when it sees an unknown key ID. Returns the
    /// ID of the previous signing key.
    ///
    /// ```
    /// use portcullis::{Algorithm, KeyRing};
    ///
    /// let ring = KeyRing::generate(Algorithm::EdDSA)?;
    /// let leaked = ring.rotate(Algorithm::EdDSA)?;
    /// ring.retire(&leaked)?;
    /// assert_eq!(ring.kids(), [ring.signing_kid()]);
    /// # Ok::<(), portcullis::issue::IssueError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`stage`](Self::stage).
    pub fn rotate(&self, algorithm: Algorithm) -> Result<String, IssueError> {
        self.refuse_a_second_staged_key()?;
        let key = Arc::new(SigningKey::generate(algorithm)?);
        self.change(|keys| {
            keys.stage(key)?;
            keys.promote()
        })
    }

    /// Removes a key from the document. Verifiers reject its tokens after their next refresh.
    ///
    /// # Errors
    ///
    /// [`IssueError::StillSigning`] for the signing key, [`IssueError::UnknownKey`] if the ring
    /// does not have the key.
    pub fn retire(&self, kid: &str) -> Result<(), IssueError> {
        self.change(|keys| keys.retire(kid))
    }

    /// The ID of the signing key.
    #[must_use]
    pub fn signing_kid(&self) -> String {
        self.0.keys.load().signing.kid().to_owned()
    }

    /// The IDs of all published keys: the signing key, the staged key, then outgoing keys, oldest
    /// first.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        let keys = self.0.keys.load();
        keys.published().map(|key| key.kid.clone()).collect()
    }

    pub(crate) fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.0.keys.load().signing)
    }

    /// Checked before a key is generated in vain. `Keys::stage` checks again under the lock.
    fn refuse_a_second_staged_key(&self) -> Result<(), IssueError> {
        self.0.keys.load().nothing_staged()
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, IssueError>,
    ) -> Result<T, IssueError> {
        let _guard = lock(&self.0.change);
        let mut keys = Keys::clone(&self.0.keys.load());
        let out = change(&mut keys)?;
        self.0.keys.store(Arc::new(keys));
        Ok(out)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.keys.load();
        f.debug_struct("KeyRing")
            .field("signing", &keys.signing)
            .field("staged", &keys.staged)
            .field("outgoing", &keys.outgoing)
            .finish()
    }
}

// === impl Keys ===

impl Keys {
    fn published(&self) -> impl Iterator<Item = &Arc<PublicJwk>> {
        std::iter::once(&self.signing)
            .chain(&self.staged)
            .map(|key| key.public())
            .chain(&self.outgoing)
    }

    fn nothing_staged(&self) -> Result<(), IssueError> {
        match &self.staged {
            Some(key) => Err(IssueError::AlreadyStaged {
                kid: key.kid().to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn stage(&mut self, key: Arc<SigningKey>) -> Result<(), IssueError> {
        self.nothing_staged()?;
        self.staged = Some(key);
        Ok(())
    }

    fn promote(&mut self) -> Result<String, IssueError> {
        let next = self.staged.take().ok_or(IssueError::NothingStaged)?;
        let old = std::mem::replace(&mut self.signing, next);
        self.outgoing.push(Arc::clone(old.public()));
        Ok(old.kid().to_owned())
    }

    fn retire(&mut self, kid: &str) -> Result<(), IssueError> {
        if self.signing.kid() == kid {
            return Err(IssueError::StillSigning {
                kid: kid.to_owned(),
            });
        }
        let before = self.published().count();
        self.staged.take_if(|key| key.kid() == kid);
        self.outgoing.retain(|key| key.kid != kid);
        if self.published().count() == before {
            return Err(IssueError::UnknownKey {
                kid: kid.to_owned(),
            });
        }
        Ok(())
    }
}
