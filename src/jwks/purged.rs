//! Purged keys, by name and by material.

use std::collections::HashMap;

use super::key::{Fingerprint, Key};
use super::set::KeySet;

/// Every purged key, by its kid.
///
/// A compromised issuer may publish a purged key again, under another kid or without one. So a
/// purged key is also recognized by its material, once the material is known. Each kid keeps one
/// fingerprint, the first: the table grows with the number of purges only, whatever an issuer
/// publishes.
#[derive(Debug, Default)]
pub(super) struct PurgedKeys(HashMap<Box<str>, Option<Fingerprint>>);

// === impl PurgedKeys ===

impl PurgedKeys {
    pub(super) fn add(&mut self, kid: &str) {
        self.0.entry(kid.into()).or_default();
    }

    /// `keys` without the purged ones. A key that is unchanged since `before` keeps its address.
    pub(super) fn remove_from(&mut self, keys: &KeySet, before: Option<&KeySet>) -> KeySet {
        for key in keys.keys() {
            let purged = key.kid().and_then(|kid| self.0.get_mut(kid));
            if let Some(unseen @ None) = purged {
                *unseen = key.fingerprint().cloned();
            }
        }
        keys.succeed(before, |key| !self.covers(key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// Whether the key has the kid or the material of a purged key.
    fn covers(&self, key: &Key) -> bool {
        let is_purged = |own: &Fingerprint| self.0.values().flatten().any(|purged| purged == own);
        key.kid().is_some_and(|kid| self.names(kid)) || key.fingerprint().is_some_and(is_purged)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
    use serde_json::json;

    use super::*;
    use crate::algorithm::{Algorithm, Algorithms};
    use crate::jwks::testing::Signer;

    fn parse(keys: &serde_json::Value) -> Option<KeySet> {
        KeySet::from_json(json!({ "keys": keys }).to_string().as_bytes()).ok()
    }

    fn purged(kid: &str) -> PurgedKeys {
        let mut purged = PurgedKeys::default();
        purged.add(kid);
        purged
    }

    fn named(mut jwk: serde_json::Value, kid: Option<&str>) -> serde_json::Value {
        jwk["kid"] = json!(kid);
        if kid.is_none() {
            jwk.as_object_mut().unwrap().remove("kid");
        }
        jwk
    }

    #[test]
    fn removes_a_purged_key_under_any_name() {
        for algorithm in Algorithms::ASYMMETRIC.iter() {
            let (bad, good) = (Signer::of(algorithm).jwk("a"), Signer::fresh().jwk("b"));
            let mut purged = purged("a");
            let next = parse(&json!([bad, good])).unwrap();
            let next = purged.remove_from(&next, None);
            assert!(!next.knows("a") && next.knows("b"));
            let restated = named(bad.clone(), Some("c"));
            let nameless = named(bad.clone(), None);
            // A purged kid stays purged, whatever key has it.
            let reused = named(Signer::fresh().jwk("a"), Some("a"));
            let set = parse(&json!([restated, nameless, reused, good])).unwrap();
            let next = purged.remove_from(&set, Some(&next));
            assert!(next.knows("b") && next.len() == 1, "{next:?}");
        }
    }

    /// `p - y`, big-endian, for the prime of P-256.
    fn negated(y: &[u8]) -> Vec<u8> {
        let (one, zero, all) = ([0, 0, 0, 1], [0; 4], [0xff_u8; 4]);
        let p = [all, one, zero, zero, zero, all, all, all].concat();
        let mut borrow = 0;
        let mut digits: Vec<u8> = std::iter::zip(p, y)
            .rev()
            .map(|(p, y)| {
                let (digit, one) = p.overflowing_sub(*y);
                let (digit, other) = digit.overflowing_sub(borrow);
                borrow = u8::from(one || other);
                digit
            })
            .collect();
        digits.reverse();
        digits
    }

    #[test]
    fn removes_keys_related_to_a_purged_key() {
        #[track_caller]
        fn check(algorithm: Algorithm, member: &str, change: fn(&[u8]) -> Vec<u8>) {
            let jwk = Signer::of(algorithm).jwk("a");
            let number = BASE64.decode(jwk[member].as_str().unwrap()).unwrap();
            let mut twin = named(jwk.clone(), Some("twin"));
            twin[member] = json!(BASE64.encode(change(&number)));
            let set = parse(&json!([jwk, twin])).unwrap();
            assert_eq!(set.len(), 2);
            let next = purged("a").remove_from(&set, None);
            assert_eq!(next.len(), 0, "{algorithm}");
        }
        // Another exponent for the same factors, and the negative of the same private number.
        check(Algorithm::RS256, "e", |_| vec![1, 0, 3]);
        check(Algorithm::ES256, "y", negated);
        check(Algorithm::EdDSA, "x", |x| {
            let (last, others) = x.split_last().unwrap();
            [others, &[last ^ 0x80]].concat()
        });
    }
}
