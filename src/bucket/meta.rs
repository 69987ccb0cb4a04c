//! A word of a line that says whose it is.

/// Whose line it is: the slot of the limits that `tat` is counted in, a bit for each peer whose counter is of this
/// owner, and how many owners there were; and, whoever owns it, [`Hints`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta(pub(super) u64);

/// Where buckets are that found their first line taken, at most two of them: steps of their windows, four bits each,
/// the last that was added first. Zero, the step of the first line itself, stands for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hints(u8);

const PEERS_SHIFT: u32 = u16::BITS;
const OWNERS_SHIFT: u32 = 2 * u16::BITS;
const HINTS_SHIFT: u32 = u64::BITS - u8::BITS;
const HINTS: u64 = (u8::MAX as u64) << HINTS_SHIFT;
const STEP_BITS: u32 = u8::BITS / 2;
const STEP: u8 = (1 << STEP_BITS) - 1;

impl Hints {
    /// At nothing.
    pub(crate) const NONE: Self = Self(0);

    /// The steps; zero for none.
    #[inline]
    pub(crate) const fn steps(self) -> [usize; 2] {
        [(self.0 & STEP) as usize, (self.0 >> STEP_BITS) as usize]
    }

    #[inline]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// One more, in place of the older of two; each once.
    const fn with(self, step: usize) -> Self {
        if self.steps()[0] == step { self } else { Self((self.0 << STEP_BITS) | (step as u8 & STEP)) }
    }
}

impl Meta {
    #[inline]
    pub(super) const fn slot(self) -> u16 {
        self.0 as u16
    }

    /// A bit for each peer whose counter is known, by its column.
    pub(super) const fn known(self) -> u16 {
        (self.0 >> PEERS_SHIFT) as u16
    }

    pub(super) const fn knows(self, column: u32) -> bool {
        self.0 & peer_bit(column) != 0
    }

    pub(super) const fn with_peer(self, column: u32) -> Self {
        Self(self.0 | peer_bit(column))
    }

    /// The number of the owner, in 24 bits.
    pub(super) const fn owner(self) -> u64 {
        (self.0 & !HINTS) >> OWNERS_SHIFT
    }

    /// That of the next owner, to whom no peer is known.
    pub(super) const fn next_owner(self, slot: u16) -> Self {
        let owner = ((self.owner() + 1) << OWNERS_SHIFT) & !HINTS;
        Self((self.0 & HINTS) | owner | slot as u64)
    }

    #[inline]
    pub(super) const fn hints(self) -> Hints {
        Hints((self.0 >> HINTS_SHIFT) as u8)
    }

    /// With a hint at a step of a window.
    pub(super) const fn with_hint(self, step: usize) -> Self {
        Self((self.0 & !HINTS) | ((self.hints().with(step).0 as u64) << HINTS_SHIFT))
    }
}

const fn peer_bit(column: u32) -> u64 {
    1 << (PEERS_SHIFT + column)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_part_changes_alone(word: u64, slot: u16, column in 0..16_u32, step in 1..16_usize) {
            let (meta, [newer, older]) = (Meta(word), Meta(word).hints().steps());
            let hinted = meta.with_hint(step);
            prop_assert_eq!(hinted.hints().steps(), [step, if newer == step { older } else { newer }]);
            let of_owner = |meta: Meta| (meta.slot(), meta.known(), meta.owner());
            prop_assert_eq!(of_owner(hinted), of_owner(meta));
            let known = meta.with_peer(column);
            prop_assert!(known.knows(column));
            let but_peers = |meta: Meta| (meta.slot(), meta.owner(), meta.hints());
            prop_assert_eq!(but_peers(known), but_peers(meta));
            let next = meta.next_owner(slot);
            prop_assert_eq!((next.slot(), next.known(), next.hints()), (slot, 0, meta.hints()));
            prop_assert_eq!(next.owner(), (meta.owner() + 1) % (1 << 24));
        }
    }

    #[test]
    fn a_word_of_zeros_hints_at_nothing() {
        assert_eq!(Meta(0).hints(), Hints::NONE);
        assert_eq!(Meta(0).with_hint(5).hints().steps(), [5, 0]);
    }
}
