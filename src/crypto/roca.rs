//! RSA keys that were made by a broken generator (CVE-2017-15361, "ROCA").
//!
//! It took its primes from `k * M + (65537^a mod M)`, where `M` is the product of the first small primes. So modulo each of
//! those the whole modulus is a power of 65537 too, and whoever sees that can factor the key. Every generated key of 2048
//! bits or more shows it for the first 126 primes; another key does so by chance once in more than 2^150 times.

/// How many of the first primes every such key is marked by.
const PRIMES: usize = 126;

/// Whether the modulus, big-endian, bears the mark.
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

/// Whether it is a power of 65537 modulo the prime.
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
    fn there_are_126_primes_up_to_701() {
        let primes: Vec<_> = primes().take(PRIMES).collect();
        assert_eq!(primes[..6], [2, 3, 5, 7, 11, 13]);
        assert_eq!(primes.last(), Some(&701));
    }

    #[test]
    fn powers_are_those_that_repeated_multiplication_finds() {
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

    /// Powers of 65537, plain ones, are marked; what is next to one is not.
    #[test]
    fn what_the_generator_makes_is_marked_and_its_neighbours_are_not() {
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
            let mut neighbour = number.clone();
            *neighbour.last_mut().unwrap() += 2;
            assert!(!is_marked(&neighbour), "65537^{power} + 2");
        }
    }
}
