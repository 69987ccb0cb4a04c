//! What was charged for peers that cannot be heard, in one word of a line.
//!
//! A part of it still *stands* in the level, the rest has *drained*. What stands can be set against anything that a
//! peer turns out to have used, and given back. What has drained was for use of about that time, so it is set against
//! use that has drained at the peer as well, and never given back.
//!
//! The level drains what was charged for peers last. So a charge that finds less in the level than was standing shows
//! that the difference has drained: every charge made while something stands has to note what it found.

use super::gcra::FIXED_BITS;

/// Binary places of what stands: exact up to 2^20 tokens, and to a 2^-35th part beyond.
const STANDING: Places = Places { mantissa_bits: 36, exponent_bits: 4 };
/// Of what has drained, in 1/256 of a token: exact up to 2^11 tokens, and to a 2^-18th part beyond.
const DRAINED: Places = Places { mantissa_bits: 19, exponent_bits: 5 };
/// Between 1/65536 and 1/256 of a token.
const DRAINED_SHIFT: u32 = 8;
const _: () = assert!(STANDING.bits() + DRAINED.bits() == u64::BITS);

/// A number of few bits, rounded down: what stands must never be more than was charged.
#[derive(Clone, Copy)]
struct Places {
    mantissa_bits: u32,
    exponent_bits: u32,
}

impl Places {
    const fn bits(self) -> u32 {
        self.mantissa_bits + self.exponent_bits
    }

    const fn mask(self) -> u64 {
        (1 << self.bits()) - 1
    }

    const fn pack(self, value: u64) -> u64 {
        let exponent = (u64::BITS - value.leading_zeros()).saturating_sub(self.mantissa_bits);
        if exponent >> self.exponent_bits != 0 {
            return self.mask();
        }
        ((exponent as u64) << self.mantissa_bits) | (value >> exponent)
    }

    const fn unpack(self, packed: u64) -> u64 {
        let mantissa = packed & ((1 << self.mantissa_bits) - 1);
        mantissa << ((packed & self.mask()) >> self.mantissa_bits)
    }
}

/// What was charged for peers that cannot be heard. Amounts are in 1/65536 of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phantom(pub(super) u64);

impl Phantom {
    const fn new(standing: u64, drained: u64) -> Self {
        let drained = DRAINED.pack(drained >> DRAINED_SHIFT);
        Self(STANDING.pack(standing) | (drained << STANDING.bits()))
    }

    /// What was in the level when it was last noted.
    #[must_use]
    pub const fn standing(self) -> u64 {
        STANDING.unpack(self.0)
    }

    /// What had drained by then.
    #[must_use]
    pub const fn drained(self) -> u64 {
        DRAINED.unpack(self.0 >> STANDING.bits()) << DRAINED_SHIFT
    }

    /// What stands of it at `level`, in tokens.
    #[must_use]
    pub fn standing_tokens(self, level: u64) -> f64 {
        self.at(level).standing() as f64 / f64::from(1_u32 << FIXED_BITS)
    }

    /// As it is at `level`: no more of it stands.
    fn at(self, level: u64) -> Self {
        let standing = self.standing().min(level);
        if standing == self.standing() {
            return self;
        }
        Self::new(standing, self.drained().saturating_add(self.standing() - standing))
    }

    /// With what is charged besides, in a bucket that had this `level`.
    pub(super) fn plus(self, charged: u64, level: u64) -> Self {
        let before = self.at(level);
        Self::new(before.standing().saturating_add(charged), before.drained())
    }

    /// Sets what it can against `growth` of a peer that has `left` of it in its level. What remains of the phantom, and
    /// what it covered.
    pub(super) fn cover(self, growth: u64, left: u64, level: u64) -> (Self, u64) {
        let before = self.at(level);
        let by_drained = before.drained().min(growth.saturating_sub(left));
        let by_standing = before.standing().min(growth - by_drained);
        let after = Self::new(before.standing() - by_standing, before.drained() - by_drained);
        (after, by_drained + by_standing)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The most that a bucket can owe: 2^31 tokens, and as many again for each of 15 peers.
    const MOST: u64 = 1 << (31 + 4 + 16);

    #[test]
    fn what_a_level_does_not_hold_has_drained() {
        let phantom = Phantom::default().plus(100 << 16, 0).plus(10 << 16, 30 << 16);
        assert_eq!((phantom.standing() >> 16, phantom.drained() >> 16), (40, 70));
        assert_eq!(phantom.plus(0, u64::MAX), phantom);
        let phantom = phantom.plus(0, 0);
        assert_eq!((phantom.standing() >> 16, phantom.drained() >> 16), (0, 110));
    }

    #[test]
    fn what_has_drained_covers_what_has_drained_at_the_peer_and_what_stands_the_rest() {
        let phantom = Phantom::default().plus(50 << 16, 0).plus(20 << 16, 0);
        let cover = |growth: u64, left: u64| {
            let (after, covered) = phantom.cover(growth << 16, left << 16, 20 << 16);
            (after.standing() >> 16, after.drained() >> 16, covered >> 16)
        };
        assert_eq!(cover(10, 10), (10, 50, 10));
        assert_eq!(cover(30, 10), (10, 30, 30));
        assert_eq!(cover(100, 100), (0, 50, 20));
        assert_eq!(cover(100, 10), (0, 0, 70));
        assert_eq!(cover(0, 0), (20, 50, 0));
    }

    #[test]
    fn the_most_that_can_be_owed_has_room() {
        let phantom = Phantom::default().plus(MOST - 1, 0);
        assert!(phantom.standing() > MOST - (MOST >> 34));
        assert!(phantom.plus(0, 0).drained() > MOST - (MOST >> 17));
        let full = Phantom::default().plus(u64::MAX, 0).plus(u64::MAX, u64::MAX);
        assert!(full.standing() >= MOST - (MOST >> 34) && full.plus(0, 0).standing() == 0);
    }

    proptest! {
        #[test]
        fn rounding_makes_nothing_more_and_little_less(standing in 0..MOST, drained in 0..MOST) {
            let phantom = Phantom::new(standing, drained);
            prop_assert!(phantom.standing() <= standing && standing - phantom.standing() <= standing >> 35);
            prop_assert!(phantom.drained() <= drained);
            prop_assert!(drained - phantom.drained() <= (drained >> 18).max(1 << DRAINED_SHIFT));
            prop_assert_eq!(Phantom::new(phantom.standing(), phantom.drained()), phantom);
        }

        #[test]
        fn nothing_covers_twice(charged in 0..MOST, level in 0..MOST, growth in 0..MOST, left in 0..MOST) {
            let phantom = Phantom::default().plus(charged, 0);
            let (after, covered) = phantom.cover(growth, left, level);
            prop_assert!(covered <= growth.min(charged));
            prop_assert!(after.standing() + after.drained() + covered <= charged);
            prop_assert!(after.standing() <= level);
        }
    }
}
