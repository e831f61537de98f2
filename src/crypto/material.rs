//! Public key material of the right lengths, and the checks that make it safe to verify with.

use super::roca;
use crate::algorithm::{Algorithm, Algorithms};

/// The public numbers of a key, or a shared secret.
#[derive(Clone, Copy)]
pub(crate) enum Material<'a> {
    /// Big-endian and without leading zeros.
    Rsa {
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
    /// An uncompressed point (SEC 1 section 2.3.3).
    P256(&'a [u8]),
    /// An uncompressed point.
    P384(&'a [u8]),
    Ed25519(&'a [u8; 32]),
    Secret(&'a [u8]),
}

// === impl Material ===

impl Material<'_> {
    /// Every algorithm that a key of this kind can verify.
    pub(crate) const fn algorithms(&self) -> Algorithms {
        match self {
            Self::Rsa { .. } => Algorithms::RSA,
            Self::P256(_) => Algorithms::of(&[Algorithm::ES256]),
            Self::P384(_) => Algorithms::of(&[Algorithm::ES384]),
            Self::Ed25519(_) => Algorithms::of(&[Algorithm::EdDSA]),
            Self::Secret(secret) => Algorithms::hmac(secret.len()),
        }
    }

    /// Whether the key is strong enough. Points are checked by the backend, which knows the curves.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::Rsa { modulus, exponent } => rsa_is_sound(modulus, exponent),
            Self::Ed25519(key) => !has_small_order(key),
            Self::P256(_) | Self::P384(_) => true,
            Self::Secret(_) => !self.algorithms().is_empty(),
        }
    }
}

/// Removes the leading zeros of a big-endian number.
pub(crate) fn strip_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// A modulus of 2048 to 8192 bits (RFC 7518 section 3.3), an exponent that every backend accepts,
/// and not a key of the generator whose keys can be factored.
fn rsa_is_sound(modulus: &[u8], exponent: &[u8]) -> bool {
    const EXPONENTS: std::ops::Range<u64> = 65_537..1 << 33;
    let bits = modulus.first().map_or(0, |first| {
        (modulus.len() * 8).saturating_sub(first.leading_zeros() as usize)
    });
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let exponent_value = exponent.iter().fold(0_u64, |value, digit| {
        value.saturating_mul(256).saturating_add(u64::from(*digit))
    });
    (2048..=8192).contains(&bits)
        && EXPONENTS.contains(&exponent_value)
        && is_odd(modulus)
        && is_odd(exponent)
        && !roca::is_marked(modulus)
}

/// Whether an Ed25519 key is a point of small order. Anyone can sign under such a key, because a
/// signature has only eight possible values.
///
/// The table has all encodings of the y coordinates of these points, canonical or not, without the
/// sign of x.
fn has_small_order(key: &[u8; 32]) -> bool {
    const SMALL: [[u8; 32]; 7] = [
        ends(0x00, 0x00, 0x00),
        ends(0x01, 0x00, 0x00),
        ORDER_8[0],
        ORDER_8[1],
        ends(0xec, 0xff, 0x7f),
        ends(0xed, 0xff, 0x7f),
        ends(0xee, 0xff, 0x7f),
    ];
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    const fn ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut number = [middle; 32];
        let [start, .., end] = &mut number;
        (*start, *end) = (first, last);
        number
    }
    let mut y = *key;
    let [.., last] = &mut y;
    *last &= 0x7f;
    SMALL.contains(&y)
}
