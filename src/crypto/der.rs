//! `RSAPublicKey ::= SEQUENCE { n INTEGER, e INTEGER }` (RFC 8017 appendix A.1.1) in DER.
//!
//! A JWK has the two numbers, and aws-lc needs the structure. A PEM file has the structure, and the
//! size check needs the numbers.

use super::material::strip_zeros;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// The modulus and the exponent, big-endian and without leading zeros. `None` for anything else,
/// private keys included.
pub(crate) fn read_rsa_public_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, after) = read(SEQUENCE, der)?;
    let (modulus, rest) = read(INTEGER, body)?;
    let (exponent, end) = read(INTEGER, rest)?;
    (after.is_empty() && end.is_empty()).then(|| (strip_zeros(modulus), strip_zeros(exponent)))
}

/// Used by aws-lc only.
#[cfg(any(test, feature = "aws-lc-rs"))]
pub(super) fn write_rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(modulus.len() + exponent.len() + 12);
    for number in [modulus, exponent] {
        // A leading zero keeps the number positive.
        let digits = strip_zeros(number);
        let sign = digits.first().is_none_or(|first| first & 0x80 != 0);
        let mut content = vec![0; usize::from(sign)];
        content.extend_from_slice(digits);
        write(INTEGER, &content, &mut body);
    }
    let mut der = Vec::with_capacity(body.len() + 4);
    write(SEQUENCE, &body, &mut der);
    der
}

fn read(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if *found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Writes lengths up to 65,535, which is more than the largest accepted key has.
#[cfg(any(test, feature = "aws-lc-rs"))]
fn write(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    let [.., high, low] = content.len().to_be_bytes();
    out.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_a_written_key() {
        for size in [1, 127, 128, 255, 256, 512, 1024] {
            for first in [0x01, 0x7f, 0x80, 0xff] {
                let mut modulus = vec![0x5a; size];
                modulus[0] = first;
                let der = write_rsa_public_key(&modulus, &[1, 0, 1]);
                assert_eq!(
                    read_rsa_public_key(&der),
                    Some((&modulus[..], &[1, 0, 1][..]))
                );
            }
        }
    }

    #[test]
    fn refuses_anything_but_two_numbers() {
        let good = write_rsa_public_key(&[0xc3; 256], &[1, 0, 1]);
        for end in 0..good.len() {
            assert_eq!(read_rsa_public_key(&good[..end]), None);
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(read_rsa_public_key(&longer), None);
        let private = [0x30, 9, 2, 1, 0, 2, 1, 35, 2, 1, 5];
        assert_eq!(read_rsa_public_key(&private), None);
    }
}
