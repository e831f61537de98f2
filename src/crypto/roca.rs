//! Detects RSA keys of the generator with the fault of CVE-2017-15361 ("ROCA").
//!
//! The generator takes its primes from `k * M + (65537^a mod M)`, where `M` is the product of the
//! first small primes. Modulo each of these, the modulus of the key is then a power of 65537, and
//! such a key can be factored. Each of its keys with 2048 bits or more has this property for the
//! first 126 primes. Any other key has it with a probability below 2^-150.

/// The number of primes to check.
const PRIMES: usize = 126;

/// Whether the modulus, big-endian, is a power of 65537 modulo each of the primes.
pub(super) fn is_marked(modulus: &[u8]) -> bool {
    primes()
        .take(PRIMES)
        .all(|prime| is_power(remainder(modulus, prime), prime))
}

fn primes() -> impl Iterator<Item = u32> {
    (2..).filter(|number| (2..*number).all(|divisor| number % divisor != 0))
}

fn remainder(number: &[u8], prime: u32) -> u32 {
    number
        .iter()
        .fold(0, |rest, digit| (rest << 8 | u32::from(*digit)) % prime)
}

/// Whether the number is a power of 65537 modulo the prime.
fn is_power(number: u32, prime: u32) -> bool {
    let mut power = 1 % prime;
    for _ in 0..prime {
        if power == number {
            return true;
        }
        power = power * (65_537 % prime) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_end_at_701() {
        let primes: Vec<_> = primes().take(PRIMES).collect();
        assert_eq!(primes[..6], [2, 3, 5, 7, 11, 13]);
        assert_eq!(primes.last(), Some(&701));
    }

    #[test]
    fn powers_match_repeated_multiplication() {
        for prime in primes().take(PRIMES) {
            let powers: std::collections::BTreeSet<_> =
                std::iter::successors(Some(1_u64), |last| Some(last * 65_537 % u64::from(prime)))
                    .take(prime as usize)
                    .collect();
            for number in 0..prime {
                let expected = powers.contains(&u64::from(number));
                assert_eq!(is_power(number, prime), expected, "{number} mod {prime}");
            }
        }
    }

    /// Powers of 65537 themselves have the property, and the numbers next to them do not.
    #[test]
    fn powers_are_marked_and_neighbors_are_not() {
        let mut number = vec![1_u8];
        for power in 1..150 {
            // 65537 = 2^16 + 1
            let mut shifted = number.clone();
            shifted.extend([0, 0]);
            let mut carry = 0_u16;
            for at in 0..shifted.len() {
                let own = u16::from(shifted[shifted.len() - 1 - at]);
                let added = match number.len().checked_sub(at + 1) {
                    Some(place) => u16::from(number[place]),
                    None => 0,
                };
                let sum = own + added + carry;
                let place = shifted.len() - 1 - at;
                shifted[place] = sum.to_be_bytes()[1];
                carry = sum >> 8;
            }
            assert_eq!(carry, 0);
            number = shifted;
            assert!(is_marked(&number), "65537^{power}");
            let mut neighbor = number.clone();
            *neighbor.last_mut().unwrap() += 2;
            assert!(!is_marked(&neighbor), "65537^{power} + 2");
        }
    }
}
