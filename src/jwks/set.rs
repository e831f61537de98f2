//! A key set: the public keys of an issuer at one moment.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::freshness::freshness;
use super::jwk::Skipped;
use super::key::Key;
use crate::algorithm::Algorithm;
use crate::error::ConfigError;

/// The largest accepted key set.
pub(super) const MAX_BYTES: usize = 512 * 1024;
const MAX_KEYS: usize = 256;

/// An immutable set of public keys. Clones are cheap.
///
/// Each JWK is checked on its own. An unusable key is [skipped](KeySet::skipped), and the others
/// are used. If two different keys have the same `kid`, both are skipped, because a token with this
/// `kid` could mean either. A key that is listed twice counts once.
///
/// ```
/// use portcullis::KeySet;
///
/// let keys = KeySet::from_json(br#"{"keys": [
///     {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
///     {"kty": "oct", "kid": "b", "k": "c2VjcmV0"}
/// ]}"#)?;
/// assert_eq!(keys.len(), 1);
/// assert_eq!(keys.skipped()[0].to_string(), "a shared secret");
///
/// assert!(KeySet::from_json(br#"{"keys": []}"#).is_err());
/// # Ok::<(), portcullis::jwks::KeySetError>(())
/// ```
#[derive(Clone)]
pub struct KeySet {
    keys: Arc<Keys>,
    max_age: Option<Duration>,
}

#[derive(Default)]
struct Keys {
    named: HashMap<Box<str>, Arc<Key>>,
    nameless: Vec<Arc<Key>>,
    /// The set was made of one key without a `kid`, which serves tokens with any `kid`.
    serve_any_kid: bool,
    skipped: Vec<Skipped>,
}

/// Why a document is not a usable key set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// The document is larger than 512 KiB.
    #[error("larger than 512 KiB")]
    TooLarge,
    /// The document is not a JWK Set (RFC 7517 section 5).
    #[error("not a JWK Set")]
    Unreadable,
    /// The document has more than 256 keys.
    #[error("more than 256 keys")]
    TooManyKeys,
    /// No key of the document can be used.
    #[error("no usable key; skipped: {0:?}")]
    NoUsableKey(Vec<Skipped>),
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads the members of an object. A derived `Deserialize` alone accepts an array of the values
/// too.
pub(super) fn read_object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(json).ok().filter(|_| is_object)
}

// === impl KeySet ===

impl KeySet {
    /// Reads a JWK Set (RFC 7517 section 5).
    ///
    /// # Errors
    ///
    /// If the document is larger than 512 KiB, has more than 256 keys, is not a JWK Set or has no
    /// usable key.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let document: Document<'_> = read_object(json).ok_or(KeySetError::Unreadable)?;
        if document.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let keys = Keys::of(document.keys.iter().map(|jwk| Key::from_jwk(jwk.get())));
        if keys.len() == 0 {
            return Err(KeySetError::NoUsableKey(keys.skipped));
        }
        Ok(Self::new(keys))
    }

    /// Reads one public key in PEM: `PUBLIC KEY` (RSA, P-256, P-384 or Ed25519) or `RSA PUBLIC
    /// KEY`.
    ///
    /// The key serves tokens with any `kid` and without one, and allows every algorithm of its
    /// type.
    ///
    /// ```
    /// let keys = portcullis::KeySet::from_pem(
    ///     "-----BEGIN PUBLIC KEY-----\n\
    ///      MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
    ///      -----END PUBLIC KEY-----\n",
    /// )?;
    /// assert_eq!(keys.len(), 1);
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Key`] if the PEM has no public key, several keys or a weak key.
    pub fn from_pem(pem: &str) -> Result<Self, ConfigError> {
        Key::from_pem(pem).map(Self::from_key)
    }

    /// Reads one JWK (RFC 7517 section 4).
    ///
    /// A key with a `kid` serves tokens with this `kid`, or without one. A key without a `kid`
    /// serves every token, as a key in PEM does.
    ///
    /// ```
    /// use portcullis::KeySet;
    ///
    /// let jwk = br#"{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// assert_eq!(KeySet::from_jwk(jwk)?.len(), 1);
    /// assert!(KeySet::from_jwk(br#"{"kty": "oct", "k": "c2VjcmV0"}"#).is_err());
    /// # Ok::<(), portcullis::jwks::KeySetError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the JWK is larger than 512 KiB or cannot be used.
    pub fn from_jwk(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let text = std::str::from_utf8(json).map_err(|_| KeySetError::Unreadable)?;
        let key = Key::from_jwk(text).map_err(|skipped| KeySetError::NoUsableKey(vec![skipped]))?;
        Ok(match key.kid() {
            Some(_) => Self::new(Keys::of([Ok(key)])),
            None => Self::from_key(key),
        })
    }

    pub(crate) fn from_key(key: Key) -> Self {
        Self::new(Keys {
            serve_any_kid: true,
            ..Keys::of([Ok(key)])
        })
    }

    fn new(keys: Keys) -> Self {
        Self {
            keys: Arc::new(keys),
            max_age: None,
        }
    }

    /// Sets how long the set is fresh. The default is `default_ttl` of the
    /// [`JwksSource`](super::JwksSource).
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Sets how long the set is fresh from the headers of its response (RFC 9111 section 4.2):
    /// `max-age` of `Cache-Control` minus `Age`, and zero for `no-store` and `no-cache`.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
    /// # use portcullis::KeySet;
    /// # let keys = KeySet::from_json(br#"{"keys": [
    /// #     {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    /// # ]}"#)?;
    ///
    /// let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=300"))]);
    /// let keys = keys.cache_control(&headers);
    /// assert!(format!("{keys:?}").contains("300s"));
    /// # Ok::<(), portcullis::jwks::KeySetError>(())
    /// ```
    #[must_use]
    pub fn cache_control(mut self, headers: &HeaderMap) -> Self {
        self.max_age = freshness(headers);
        self
    }

    /// The number of usable keys.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a set always has a key
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Why other keys were skipped, one reason for each.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.keys.skipped
    }

    pub(super) fn fresh_for(&self) -> Option<Duration> {
        self.max_age
    }

    /// The keys as the issuer wrote them; `None` if there are none, or the key was not a JWK.
    pub(super) fn to_json(&self) -> Option<String> {
        if self.keys.serve_any_kid || self.len() == 0 {
            return None;
        }
        let texts: Option<Vec<_>> = self.keys.iter().map(|key| key.source()).collect();
        Some(format!("{{\"keys\":[{}]}}", texts?.join(",")))
    }

    /// The memory that the keys take, as an estimate.
    pub(super) fn bytes(&self) -> usize {
        self.keys().map(Key::bytes).sum()
    }

    /// The key with this kid if it allows the algorithm. Without a kid, the only key that allows
    /// it.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Arc<Key>> {
        if let Some(kid) = kid.filter(|_| !self.keys.serve_any_kid) {
            return self.keys.named.get(kid).filter(|key| key.allows(algorithm));
        }
        let mut allowing = self.keys.iter().filter(|key| key.allows(algorithm));
        let only = allowing.next();
        only.filter(|_| allowing.next().is_none())
    }

    /// Whether the set contains this kid, so that another fetch would not help.
    pub(super) fn knows(&self, kid: &str) -> bool {
        self.keys.serve_any_kid || self.names(kid)
    }

    pub(super) fn names(&self, kid: &str) -> bool {
        self.keys.named.contains_key(kid)
    }

    /// Whether the set contains this `Arc`.
    pub(super) fn holds(&self, key: &Arc<Key>) -> bool {
        match key.kid() {
            Some(kid) => self
                .keys
                .named
                .get(kid)
                .is_some_and(|held| Arc::ptr_eq(held, key)),
            None => self.keys.nameless.iter().any(|held| Arc::ptr_eq(held, key)),
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|key| &**key)
    }

    /// The keys of this set that `keep` accepts. A key that is unchanged in `previous` is taken
    /// from there.
    pub(super) fn succeed(&self, previous: Option<&Self>, keep: impl Fn(&Key) -> bool) -> Self {
        let kept = |key: &Arc<Key>| {
            let before = previous.and_then(|previous| previous.keys.unchanged(key));
            keep(key).then(|| Arc::clone(before.unwrap_or(key)))
        };
        let named = self.keys.named.iter();
        Self {
            keys: Arc::new(Keys {
                named: named
                    .filter_map(|(kid, key)| Some((kid.clone(), kept(key)?)))
                    .collect(),
                nameless: self.keys.nameless.iter().filter_map(kept).collect(),
                serve_any_kid: self.keys.serve_any_kid,
                skipped: self.keys.skipped.clone(),
            }),
            max_age: self.max_age,
        }
    }

    /// Whether both sets contain the same `Arc`s.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.len() == other.len() && self.keys.iter().all(|key| other.holds(key))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("keys", &self.keys.iter().collect::<Vec<_>>())
            .field("skipped", &self.keys.skipped)
            .field("max_age", &self.max_age)
            .finish()
    }
}

// === impl Keys ===

impl Keys {
    fn of(loaded: impl IntoIterator<Item = Result<Key, Skipped>>) -> Self {
        let mut keys = Self::default();
        let mut ambiguous = HashSet::new();
        for key in loaded {
            match key {
                Err(reason) => keys.skipped.push(reason),
                Ok(key) => keys.insert(Arc::new(key), &mut ambiguous),
            }
        }
        keys
    }

    fn insert(&mut self, key: Arc<Key>, ambiguous: &mut HashSet<Box<str>>) {
        let Some(kid) = key.kid().map(Box::<str>::from) else {
            self.nameless.push(key);
            return;
        };
        if ambiguous.contains(&kid) {
            self.skipped.push(Skipped::DuplicateKid);
        } else if self.named.get(&kid).is_some_and(|own| own.is_twin(&key)) {
            // The same key, listed twice.
        } else if self.named.remove(&kid).is_some() {
            self.skipped.extend([Skipped::DuplicateKid; 2]);
            ambiguous.insert(kid);
        } else {
            self.named.insert(kid, key);
        }
    }

    fn len(&self) -> usize {
        self.named.len() + self.nameless.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.named.values().chain(&self.nameless)
    }

    fn unchanged(&self, key: &Key) -> Option<&Arc<Key>> {
        match key.kid() {
            Some(kid) => self
                .named
                .get(kid)
                .filter(|before| before.is_unchanged(key)),
            None => self.nameless.iter().find(|before| before.is_unchanged(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crypto::testing::Signer;
    use crate::jwks::testing::{json, keys};

    fn es256(kid: &str) -> serde_json::Value {
        Signer::of(Algorithm::ES256).jwk(kid)
    }

    fn parse(keys: &serde_json::Value) -> Result<KeySet, KeySetError> {
        KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn bad_key_leaves_the_others_usable() {
        let mut wrong_kid = es256("x");
        wrong_kid["kid"] = json!(7);
        let set =
            parse(&json!([7, null, wrong_kid, {"kty": "oct", "k": ""}, es256("good")])).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(Some("good"), Algorithm::ES256).is_some());
        assert_eq!(
            set.skipped(),
            [
                Skipped::Unparsable,
                Skipped::Unparsable,
                Skipped::Unparsable,
                Skipped::Symmetric
            ]
        );
    }

    #[test]
    fn skips_all_keys_of_an_ambiguous_kid() {
        let others = [Signer::fresh().jwk("a"), Signer::fresh().jwk("a")];
        let set = parse(&json!([es256("a"), es256("b"), others[0], others[1]])).unwrap();
        assert_eq!(set.len(), 1);
        assert!(set.find(Some("a"), Algorithm::ES256).is_none());
        assert!(set.find(Some("b"), Algorithm::ES256).is_some());
        assert_eq!(set.skipped(), [Skipped::DuplicateKid; 3]);
    }

    #[test]
    fn key_listed_twice_counts_once() {
        let (a, b) = (es256("a"), es256("b"));
        let turned = a.as_object().unwrap().iter().rev();
        let turned: Vec<_> = turned
            .map(|(name, value)| format!("{name:?}: {value}"))
            .collect();
        let turned = format!("{{{}}}", turned.join(", "));
        let text = format!(r#"{{"keys":[{a},{b},{turned},{a}]}}"#);
        let set = KeySet::from_json(text.as_bytes()).unwrap();
        assert_eq!((set.len(), set.skipped()), (2, &[][..]));
        assert!(set.find(Some("a"), Algorithm::ES256).is_some());

        let mut more = a.clone();
        more["use"] = json!("sig");
        let set = parse(&json!([a, a, b, more])).unwrap();
        assert!(set.find(Some("a"), Algorithm::ES256).is_none());
        assert_eq!(set.skipped(), [Skipped::DuplicateKid; 2]);
    }

    #[test]
    fn set_without_usable_key_is_an_error() {
        assert_eq!(
            parse(&json!([])).unwrap_err(),
            KeySetError::NoUsableKey(vec![])
        );
        assert_eq!(
            parse(&json!([{"kty": "oct"}])).unwrap_err(),
            KeySetError::NoUsableKey(vec![Skipped::Symmetric])
        );
        for text in [
            "",
            "{",
            "[]",
            "[[7]]",
            "7",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[]"#,
            "\u{feff}{}",
        ] {
            assert_eq!(
                KeySet::from_json(text.as_bytes()).unwrap_err(),
                KeySetError::Unreadable
            );
        }
        assert_eq!(
            KeySet::from_json(b"\xff").unwrap_err(),
            KeySetError::Unreadable
        );
    }

    #[test]
    fn set_is_bounded() {
        let one = es256("a").to_string();
        let many = |count| format!(r#"{{"keys":[{one}{}]}}"#, ",7".repeat(count));
        assert_eq!(KeySet::from_json(many(255).as_bytes()).unwrap().len(), 1);
        assert_eq!(
            KeySet::from_json(many(256).as_bytes()).unwrap_err(),
            KeySetError::TooManyKeys
        );
        let padded = |bytes: usize| {
            let text = json(["a"]);
            format!("{text}{}", " ".repeat(bytes - text.len()))
        };
        assert!(KeySet::from_json(padded(MAX_BYTES).as_bytes()).is_ok());
        assert_eq!(
            KeySet::from_json(padded(MAX_BYTES + 1).as_bytes()).unwrap_err(),
            KeySetError::TooLarge
        );
    }

    #[test]
    fn kid_matches_exactly_for_allowed_algorithms() {
        let set = keys(["a"]);
        assert!(set.find(Some("a"), Algorithm::ES256).is_some());
        for (kid, algorithm) in [
            ("a", Algorithm::ES384),
            ("A", Algorithm::ES256),
            ("", Algorithm::ES256),
        ] {
            assert!(set.find(Some(kid), algorithm).is_none());
        }
    }

    #[test]
    fn without_kid_one_key_must_allow_the_algorithm() {
        let rsa = Signer::of(Algorithm::RS256).jwk("r");
        let set = parse(&json!([es256("a"), rsa])).unwrap();
        assert!(set.find(None, Algorithm::ES256).is_some());
        assert!(set.find(None, Algorithm::PS512).is_some());
        assert!(set.find(None, Algorithm::EdDSA).is_none());
        assert!(keys(["a", "b"]).find(None, Algorithm::ES256).is_none());
    }

    #[test]
    fn single_jwk_serves_its_kid_or_any() {
        let mut jwk = es256("a");
        let named = KeySet::from_jwk(jwk.to_string().as_bytes()).unwrap();
        assert!(named.find(Some("a"), Algorithm::ES256).is_some());
        assert!(named.find(None, Algorithm::ES256).is_some());
        assert!(named.find(Some("b"), Algorithm::ES256).is_none());
        jwk.as_object_mut().unwrap().remove("kid");
        let nameless = KeySet::from_jwk(jwk.to_string().as_bytes()).unwrap();
        for kid in [None, Some("a"), Some("b")] {
            assert!(nameless.find(kid, Algorithm::ES256).is_some());
            assert!(nameless.find(kid, Algorithm::RS256).is_none());
        }
        jwk["d"] = json!("c2VjcmV0");
        for (text, expected) in [
            (
                jwk.to_string(),
                KeySetError::NoUsableKey(vec![Skipped::Private]),
            ),
            (
                json(["a"]),
                KeySetError::NoUsableKey(vec![Skipped::Unparsable]),
            ),
            (" ".repeat(MAX_BYTES + 1), KeySetError::TooLarge),
        ] {
            assert_eq!(KeySet::from_jwk(text.as_bytes()).unwrap_err(), expected);
        }
        assert_eq!(
            KeySet::from_jwk(b"\xff").unwrap_err(),
            KeySetError::Unreadable
        );
    }

    #[test]
    fn single_pem_key_serves_any_kid() {
        let set = KeySet::from_pem(&Signer::of(Algorithm::EdDSA).pem()).unwrap();
        let set = set.succeed(None, |key| key.kid() != Some("b"));
        for kid in [None, Some("a"), Some("")] {
            assert!(set.find(kid, Algorithm::EdDSA).is_some());
            assert!(set.find(kid, Algorithm::ES256).is_none());
        }
        let mut nameless = es256("a");
        nameless.as_object_mut().unwrap().remove("kid");
        let set = parse(&json!([nameless])).unwrap();
        assert!(set.find(None, Algorithm::ES256).is_some());
        assert!(
            set.find(Some("a"), Algorithm::ES256).is_none(),
            "a published key does not"
        );
    }

    #[test]
    fn unchanged_key_keeps_its_arc() {
        let (before, after) = (keys(["a", "b"]), keys(["b", "c"]));
        let next = after.succeed(Some(&before), |_| true);
        let b = before.find(Some("b"), Algorithm::ES256).unwrap();
        assert!(next.holds(b) && !after.holds(b));
        assert!(!next.holds(before.find(Some("a"), Algorithm::ES256).unwrap()));
        assert!(!next.is_same(&before));
        assert!(
            keys(["b", "a"])
                .succeed(Some(&before), |_| true)
                .is_same(&before)
        );

        let mut renamed = es256("b");
        renamed["use"] = json!("sig");
        let changed = parse(&json!([renamed])).unwrap();
        assert!(!changed.succeed(Some(&before), |_| true).holds(b));
    }
}
