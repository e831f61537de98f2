//! What stands for a revoked thing in memory: keyed hashes, never its name.

use std::hash::{BuildHasher, RandomState};

use super::revocation::Kind;

/// Stands for a kind, an issuer and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Where it is looked for. It comes first, so that keys are sorted by it.
    pub(super) place: u64,
    /// 128 bits. Nobody outside this process can find two names that share them.
    hash: [u64; 2],
}

/// The keys of the hashes, new for every map.
pub(super) struct Secrets {
    place: [u64; 2],
    hash: [RandomState; 2],
}

/// An issuer, which keeps its names apart from those of others.
pub(super) struct Namespace<'a> {
    secrets: &'a Secrets,
    issuer: &'a str,
    /// The state of the places' hash when it has read the issuer.
    place: u64,
}

/// A key of which only the place is known.
///
/// Nearly every lookup is in vain and ends there, so a place is hashed in a fraction of the time. That hash is not
/// made to withstand an attacker, and need not: two names in one place are told apart by the other.
pub(super) struct Sought<'a> {
    pub(super) place: u64,
    namespace: &'a Namespace<'a>,
    kind: Kind,
    value: &'a str,
}

// === impl Secrets ===

impl Secrets {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            // Even factors would lose bits.
            place: [random.hash_one(0), random.hash_one(1) | 1],
            hash: [RandomState::new(), RandomState::new()],
        }
    }

    pub(super) fn namespace<'a>(&'a self, issuer: &'a str) -> Namespace<'a> {
        let [start, _] = self.place;
        Namespace {
            secrets: self,
            issuer,
            place: self.read(start, issuer),
        }
    }

    /// Multiplies word by word and folds the halves of the product together, as wyhash does.
    fn read(&self, mut state: u64, text: &str) -> u64 {
        let [_, factor] = self.place;
        let mut mix = |word: u64| {
            let product = u128::from(state ^ word) * u128::from(factor);
            state = (product as u64) ^ ((product >> 64) as u64);
        };
        let (words, rest) = text.as_bytes().as_chunks();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // A rest has at most seven bytes, and the eighth tells how many.
        last[7] = rest.len() as u8;
        mix(u64::from_le_bytes(last));
        state
    }
}

// === impl Namespace ===

impl Namespace<'_> {
    pub(super) fn seek<'a>(&'a self, kind: Kind, value: &'a str) -> Sought<'a> {
        Sought {
            place: self.secrets.read(self.place ^ kind as u64, value),
            namespace: self,
            kind,
            value,
        }
    }
}

// === impl Sought ===

impl Sought<'_> {
    /// The whole key.
    pub(super) fn key(&self) -> Key {
        let named = (self.kind, self.namespace.issuer, self.value);
        let secrets = self.namespace.secrets.hash.each_ref();
        Key {
            place: self.place,
            hash: secrets.map(|secret| secret.hash_one(named)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kind_issuer_and_value_are_told_apart() {
        let secrets = Secrets::new();
        let mut places = HashSet::new();
        let mut hashes = HashSet::new();
        // Run together, the texts of many of these are the same.
        for issuer in ["a", "ab", "abc"] {
            let namespace = secrets.namespace(issuer);
            for kind in Kind::ALL {
                for value in ["", "\0", "c", "bc", "abc", "12345678", "12345678\0"] {
                    let key = namespace.seek(kind, value).key();
                    assert!(places.insert(key.place), "{issuer} {kind:?} {value:?}");
                    assert!(hashes.insert(key.hash), "{issuer} {kind:?} {value:?}");
                }
            }
        }
    }

    #[test]
    fn two_maps_hash_differently_and_one_map_alike() {
        let (one, other) = (Secrets::new(), Secrets::new());
        let key = |secrets: &Secrets| secrets.namespace("a").seek(Kind::Token, "b").key();
        assert_eq!(key(&one), key(&one));
        assert_ne!(key(&one).place, key(&other).place);
        let ([a, b], [c, d]) = (key(&one).hash, key(&other).hash);
        assert_eq!(HashSet::from([a, b, c, d]).len(), 4);
    }

    #[test]
    fn places_are_spread_evenly() {
        #[track_caller]
        fn check(name: impl Fn(u64) -> String) {
            let secrets = Secrets::new();
            let namespace = secrets.namespace("https://id.example.com/");
            for shift in [54, 44] {
                let mut counts = [0_u32; 1024];
                for number in 0..102_400 {
                    let place = namespace.seek(Kind::Token, &name(number)).place;
                    counts[(place >> shift) as usize % 1024] += 1;
                }
                // 100 each, with a deviation of 10.
                let is_even = counts.iter().all(|count| (40..170).contains(count));
                assert!(is_even, "{counts:?}");
            }
        }
        check(|number| number.to_string());
        check(|number| format!("{number:08}"));
        check(|number| format!("{number:016x}-0000-4000-8000-000000000000"));
        check(|number| format!("00000000-0000-4000-8000-{number:012x}"));
        check(|number| "x".repeat(number as usize % 997) + &number.to_string());
    }
}
