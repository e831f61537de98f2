//! Signature algorithms and their names.

use std::fmt;

use crate::words::words;

/// A JWS signature algorithm (RFC 7518 section 3.1, RFC 8037, RFC 9864).
///
/// Names are compared exactly (RFC 7515 section 4.1.1). `Ed25519` is read as `EdDSA`.
///
/// ```
/// use portcullis::Algorithm;
///
/// assert_eq!("ES256".parse(), Ok(Algorithm::ES256));
/// assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
/// assert_eq!(Algorithm::EdDSA.to_string(), "EdDSA");
/// assert!("none".parse::<Algorithm>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC with SHA-256. Only for a secret that you configure, never for a fetched key.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// EdDSA on Ed25519. Tokens name it `EdDSA` (RFC 8037) or `Ed25519` (RFC 9864).
    EdDSA,
}

/// A set of algorithms.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Algorithms(u16);

// === impl Algorithm ===

words! {
    Algorithm: "algorithm" {
        HS256 => "HS256",
        HS384 => "HS384",
        HS512 => "HS512",
        RS256 => "RS256",
        RS384 => "RS384",
        RS512 => "RS512",
        PS256 => "PS256",
        PS384 => "PS384",
        PS512 => "PS512",
        ES256 => "ES256",
        ES384 => "ES384",
        EdDSA => "EdDSA" | "Ed25519",
    }
}

impl Algorithm {
    /// Whether the algorithm uses a shared secret (HMAC).
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

// === impl Algorithms ===

impl Algorithms {
    pub(crate) const RSA: Self = Self::of(&[
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ]);
    pub(crate) const ASYMMETRIC: Self =
        Self(Self::RSA.0 | Self::of(&[Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]).0);

    /// The algorithms of a secret with this many bytes, which must be as long as the hash (RFC 7518
    /// section 3.2).
    pub(crate) const fn hmac(secret_bytes: usize) -> Self {
        match secret_bytes {
            0..32 => Self(0),
            32..48 => Self::of(&[Algorithm::HS256]),
            48..64 => Self::of(&[Algorithm::HS256, Algorithm::HS384]),
            64.. => Self::of(&[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]),
        }
    }

    pub(crate) const fn of(list: &[Algorithm]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, tail @ ..] = rest {
            bits |= 1 << *first as u16;
            rest = tail;
        }
        Self(bits)
    }

    pub(crate) const fn contains(self, algorithm: Algorithm) -> bool {
        self.0 & (1 << algorithm as u16) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of `self` that are not in `other`.
    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Algorithm> {
        let all = Algorithm::ALL.iter().copied();
        all.filter(move |algorithm| self.contains(*algorithm))
    }
}

impl fmt::Debug for Algorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(Algorithm::as_str))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(*algorithm));
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        for name in ["none", "None", "rs256", "RS256 ", "ES512", "ES256K", ""] {
            assert!(name.parse::<Algorithm>().is_err(), "{name}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_reads_both_names_of_eddsa() {
        for name in ["\"EdDSA\"", "\"Ed25519\""] {
            let algorithm: Algorithm = serde_json::from_str(name).unwrap();
            assert_eq!(serde_json::to_string(&algorithm).unwrap(), "\"EdDSA\"");
        }
        assert!(serde_json::from_str::<Algorithm>("\"none\"").is_err());
    }

    #[test]
    fn default_algorithms_contain_no_shared_secret() {
        assert!(Algorithms::ASYMMETRIC.iter().all(|a| !a.is_symmetric()));
        assert_eq!(Algorithms::ASYMMETRIC.iter().count(), 9);
    }
}
