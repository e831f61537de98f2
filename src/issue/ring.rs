//! The ring: the key that signs, the one that comes next, and those that are on their way out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::error::IssueError;
use super::jwk::PublicJwk;
use super::key::SigningKey;
use crate::algorithm::Algorithm;

/// The `typ` of an access token (RFC 9068 section 2.1).
const ACCESS_TOKEN: &str = "at+jwt";

/// Keys that sign tokens and are published for whoever verifies them. A cheap handle: clones share the keys.
///
/// Signing never waits: it reads a snapshot. A key is named by its thumbprint (RFC 7638), so that one name is never
/// used for two keys.
///
/// See the [module](crate::issue) for the order of a rotation and how long to wait in it.
#[derive(Clone)]
pub struct KeyRing(Arc<Shared>);

struct Shared {
    keys: ArcSwap<Keys>,
    /// Held while one snapshot replaces another, so that no change is lost. No key is made under it.
    change: Mutex<()>,
}

#[derive(Clone)]
struct Keys {
    signing: Arc<SigningKey>,
    staged: Option<Arc<SigningKey>>,
    /// Published, oldest first. They sign no more, so that their private halves are gone.
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
    /// A ring with one new key, which signs. RSA keys have 2048 bits.
    ///
    /// To make an RSA key takes a core some tenths of a second; an async service calls this in `spawn_blocking`. The
    /// same holds for [`stage`](Self::stage) and [`rotate`](Self::rotate).
    ///
    /// # Errors
    ///
    /// [`IssueError::Symmetric`] for an HMAC algorithm, [`IssueError::Crypto`] if the library fails.
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

    /// An access token over `claims`, with `alg`, `kid` and `typ: at+jwt` (RFC 9068) in its header.
    ///
    /// The claims are signed as they are: `iss`, `aud`, `sub`, `iat`, `exp` and `jti` are the caller's to set.
    ///
    /// # Errors
    ///
    /// [`IssueError::Claims`] unless `claims` serialize to a JSON object, [`IssueError::Crypto`] if the library fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, IssueError> {
        self.sign_as(ACCESS_TOKEN, claims)
    }

    /// A token of another type: `typ` is the media type without `application/`, such as `logout+jwt` (RFC 8725 section 3.11).
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
            alg: key.algorithm().name(),
            kid: key.kid(),
            typ,
        };
        let header = serde_json::to_vec(&header).map_err(|_| IssueError::Crypto)?;
        key.sign(&header, &payload)
    }

    /// The JWKS document (RFC 7517 section 5): public members only, each key with `kid`, `alg` and `use: sig`.
    ///
    /// Serve it as `application/jwk-set+json` or `application/json`, with a `Cache-Control: max-age` no longer than the
    /// verifier TTL that the rotation counts on.
    #[must_use]
    pub fn jwks(&self) -> String {
        let keys = self.0.keys.load();
        let list: Vec<_> = keys.published().map(|key| key.json.as_str()).collect();
        format!(r#"{{"keys":[{}]}}"#, list.join(","))
    }

    /// Publishes the next key, which signs nothing before [`promote`](Self::promote). Returns its key id.
    ///
    /// # Errors
    ///
    /// [`IssueError::AlreadyStaged`] if there is a next key, and those of [`generate`](Self::generate).
    pub fn stage(&self, algorithm: Algorithm) -> Result<String, IssueError> {
        self.refuse_a_second_staged_key()?;
        let key = Arc::new(SigningKey::generate(algorithm)?);
        let kid = key.kid().to_owned();
        self.change(|keys| keys.stage(key))?;
        Ok(kid)
    }

    /// Lets the staged key sign. Returns the key id that signed until now: it stays published, to be
    /// [retired](Self::retire) once its last token is over.
    ///
    /// # Errors
    ///
    /// [`IssueError::NothingStaged`] without a staged key.
    pub fn promote(&self) -> Result<String, IssueError> {
        self.change(Keys::promote)
    }

    /// [`stage`](Self::stage) and [`promote`](Self::promote) in one step, with no time for verifiers to fetch the new
    /// key: for a leaked key, or where every verifier fetches on an unknown key id. Returns the key id that signed
    /// until now.
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

    /// Takes a key out of the document, and drops it. Tokens it signed stop verifying as verifiers refresh.
    ///
    /// # Errors
    ///
    /// [`IssueError::StillSigning`] for the key that signs, [`IssueError::UnknownKey`] for one that the ring does not have.
    pub fn retire(&self, kid: &str) -> Result<(), IssueError> {
        self.change(|keys| keys.retire(kid))
    }

    /// The id of the key that signs.
    #[must_use]
    pub fn signing_kid(&self) -> String {
        self.0.keys.load().signing.kid().to_owned()
    }

    /// The ids of all published keys: the one that signs, the staged one, then the outgoing ones, oldest first.
    #[must_use]
    pub fn kids(&self) -> Vec<String> {
        let keys = self.0.keys.load();
        keys.published().map(|key| key.kid.clone()).collect()
    }

    pub(crate) fn signing_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.0.keys.load().signing)
    }

    /// Asked before a key is made in vain; `Keys::stage` asks again, under the lock.
    fn refuse_a_second_staged_key(&self) -> Result<(), IssueError> {
        self.0.keys.load().nothing_staged()
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Keys) -> Result<T, IssueError>,
    ) -> Result<T, IssueError> {
        // A snapshot is stored whole or not at all, so a poisoned lock guards nothing that is broken.
        let _guard = self.0.change.lock().unwrap_or_else(PoisonError::into_inner);
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
