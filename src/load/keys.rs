//! Which keys are asked for: numbers from 0 to `keys - 1`, uniform or by Zipf's law.

use std::fmt;
use std::str::FromStr;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

/// Most decimal digits of a key's number.
pub(super) const MAX_DECIMALS: usize = 20;

/// How often each key is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All keys alike.
    Uniform,
    /// Key `k` in proportion to `1 / (k + 1)^exponent`: few keys are hot, most are cold.
    Zipf(Exponent),
}

/// The exponent of a Zipf distribution: a number above 0 and at most 10.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponent(f64);

impl Exponent {
    /// The exponent, if it is in its range.
    #[must_use]
    pub fn new(exponent: f64) -> Option<Self> {
        (exponent > 0.0 && exponent <= 10.0).then_some(Self(exponent))
    }
}

/// Why a text names no distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DistributionError {
    /// Neither of the two.
    #[error("write `uniform` or `zipf:EXPONENT`")]
    Unknown,
    /// No number in range.
    #[error("the exponent of zipf is a number above 0 and at most 10, such as `zipf:1.1`")]
    Exponent,
}

impl FromStr for Distribution {
    type Err = DistributionError;

    fn from_str(text: &str) -> Result<Self, DistributionError> {
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let exponent = text.strip_prefix("zipf:").ok_or(DistributionError::Unknown)?;
        let exponent = exponent.parse().ok().and_then(Exponent::new);
        exponent.map(Self::Zipf).ok_or(DistributionError::Exponent)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(Exponent(exponent)) => write!(f, "zipf:{exponent}"),
        }
    }
}

/// An endless sequence of key numbers, the same for the same seed and stream.
#[derive(Debug)]
pub(super) struct KeySequence {
    random: Xoshiro256PlusPlus,
    keys: u64,
    zipf: Option<Zipf<f64>>,
}

impl KeySequence {
    /// The sequence of one thread, `stream`, so that threads do not ask for the same keys in step.
    /// `keys` is at least one.
    pub(super) fn new(distribution: Distribution, keys: u64, seed: u64, stream: u32) -> Self {
        // An odd constant (2^64 divided by the golden ratio) spreads neighbouring streams apart.
        let seed = seed ^ u64::from(stream).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let zipf = match distribution {
            Distribution::Uniform => None,
            // Refused only for exponents and numbers of keys that cannot be here.
            Distribution::Zipf(Exponent(exponent)) => Zipf::new(keys as f64, exponent).ok(),
        };
        Self { random: Xoshiro256PlusPlus::seed_from_u64(seed), keys, zipf }
    }

    /// The next number, below `keys`.
    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        match &self.zipf {
            None => self.random.random_range(0..self.keys),
            // Ranks begin with one; rounding could pass the end by one.
            Some(zipf) => (zipf.sample(&mut self.random) as u64).clamp(1, self.keys) - 1,
        }
    }
}

/// Writes `number` in decimals at the start of `out`, which has room for them; how many there are.
#[inline]
pub(super) fn write_decimal(mut number: u64, out: &mut [u8]) -> usize {
    let mut digits = [0; MAX_DECIMALS];
    let mut start = MAX_DECIMALS;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let len = MAX_DECIMALS - start;
    out[..len].copy_from_slice(&digits[start..]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DRAWS: u32 = 200_000;

    fn frequencies(distribution: Distribution, keys: u64) -> Vec<f64> {
        let mut counts = vec![0_u32; keys as usize];
        let mut sequence = KeySequence::new(distribution, keys, 7, 0);
        (0..DRAWS).for_each(|_| counts[sequence.next() as usize] += 1);
        counts.iter().map(|count| f64::from(*count) / f64::from(DRAWS)).collect()
    }

    /// Five standard deviations of a frequency with this mean.
    fn tolerance(mean: f64) -> f64 {
        5.0 * (mean * (1.0 - mean) / f64::from(DRAWS)).sqrt()
    }

    #[test]
    fn zipf_keys_come_as_often_as_the_law_says() {
        for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
            let keys = 50;
            let weight = |key: i32| f64::from(key + 1).powf(-exponent);
            let sum: f64 = (0..keys).map(weight).sum();
            let distribution = Distribution::Zipf(Exponent::new(exponent).unwrap());
            for (key, frequency) in frequencies(distribution, keys as u64).iter().enumerate() {
                let expected = weight(key as i32) / sum;
                assert!((frequency - expected).abs() < tolerance(expected), "{exponent} {key}: {frequency}");
            }
        }
    }

    #[test]
    fn uniform_keys_come_equally_often() {
        for frequency in frequencies(Distribution::Uniform, 50) {
            assert!((frequency - 0.02).abs() < tolerance(0.02), "{frequency}");
        }
    }

    #[test]
    fn a_seed_repeats_its_keys_and_threads_differ() {
        let keys = |seed, stream| {
            let mut sequence = KeySequence::new(Distribution::Uniform, 1 << 40, seed, stream);
            [sequence.next(), sequence.next(), sequence.next()]
        };
        assert_eq!(keys(1, 0), keys(1, 0));
        assert_ne!(keys(1, 0), keys(1, 1));
        assert_ne!(keys(1, 0), keys(2, 0));
    }

    #[test]
    fn a_distribution_is_read_and_shown_alike() {
        for text in ["uniform", "zipf:1", "zipf:0.99"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("normal".parse::<Distribution>(), Err(DistributionError::Unknown));
        for text in ["zipf:", "zipf:0", "zipf:-1", "zipf:11", "zipf:NaN", "zipf:inf"] {
            assert_eq!(text.parse::<Distribution>(), Err(DistributionError::Exponent), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_stay_below_the_number_of_keys(
            keys in 1..=super::super::plan::MAX_KEYS,
            exponent in 0.01..10.0,
            seed: u64,
        ) {
            let exponent = Exponent::new(exponent).unwrap();
            for distribution in [Distribution::Uniform, Distribution::Zipf(exponent)] {
                let mut sequence = KeySequence::new(distribution, keys, seed, 3);
                prop_assert!((0..100).all(|_| sequence.next() < keys));
            }
        }

        #[test]
        fn decimals_are_those_of_the_number(number: u64) {
            let mut out = [0; MAX_DECIMALS];
            let len = write_decimal(number, &mut out);
            prop_assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), number.to_string());
        }
    }
}
