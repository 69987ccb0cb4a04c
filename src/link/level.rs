//! A level in four bytes: 26 bits of a number and 6 bits of how far it is shifted.

const MANTISSA_BITS: u32 = 26;
const MANTISSA_MASK: u32 = (1 << MANTISSA_BITS) - 1;
/// With it the mantissa reaches the top of 64 bits.
const MAX_SHIFT: u32 = u64::BITS - MANTISSA_BITS;

/// The four bytes for `level`, rounded up: a peer may be told of a little more than there is (one part
/// in 2^25), never of less. Exact below 1024 tokens.
pub(super) const fn encode(level: u64) -> u32 {
    if level <= MANTISSA_MASK as u64 {
        return level as u32;
    }
    let shift = u64::BITS - level.leading_zeros() - MANTISSA_BITS;
    let mantissa = (level >> shift) as u32 + (level & ((1 << shift) - 1) != 0) as u32;
    if mantissa <= MANTISSA_MASK {
        return shift << MANTISSA_BITS | mantissa;
    }
    if shift == MAX_SHIFT {
        return MAX_SHIFT << MANTISSA_BITS | MANTISSA_MASK;
    }
    (shift + 1) << MANTISSA_BITS | mantissa >> 1
}

/// The level that four bytes mean. All values mean one; those past the top mean the top.
pub(super) const fn decode(bits: u32) -> u64 {
    let (shift, mantissa) = (bits >> MANTISSA_BITS, (bits & MANTISSA_MASK) as u64);
    if mantissa == 0 {
        return 0;
    }
    if shift > mantissa.leading_zeros() || bits == MAX_SHIFT << MANTISSA_BITS | MANTISSA_MASK {
        return u64::MAX;
    }
    mantissa << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_levels_are_exact_and_the_top_is_the_top() {
        for level in [0, 1, 65_536, (1 << 26) - 1, 1 << 26] {
            assert_eq!(decode(encode(level)), level);
        }
        assert_eq!(decode(encode(u64::MAX)), u64::MAX);
        assert_eq!(decode(u32::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn a_level_is_never_understated_and_overstated_by_little(level: u64, shift in 0_u32..64) {
            let level = level >> shift;
            let heard = decode(encode(level));
            prop_assert!(heard >= level);
            prop_assert!(heard == u64::MAX || heard - level <= level >> 25);
        }

        #[test]
        fn any_four_bytes_are_a_level(bits: u32) {
            let level = decode(bits);
            prop_assert!(decode(encode(level)) >= level);
        }
    }
}
