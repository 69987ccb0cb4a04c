//! Some places of a short list, a bit each.

/// A set of places below 64, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places(u64);

impl Places {
    /// Those whose bits are set.
    #[inline]
    pub(super) const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first `count`, at most 63.
    #[inline]
    pub(super) const fn first(count: usize) -> Self {
        Self((1 << count) - 1)
    }

    /// Adds a place where `yes`, without a branch.
    #[inline]
    pub(super) const fn add_if(&mut self, yes: bool, place: usize) {
        self.0 |= (yes as u64) << place;
    }

    /// Takes a place out.
    #[inline]
    pub(super) const fn remove(&mut self, place: usize) {
        self.0 &= !(1 << place);
    }

    /// Whether it is there.
    #[inline]
    pub(super) const fn has(self, place: usize) -> bool {
        self.0 >> place & 1 != 0
    }

    /// Those that are not in `others`.
    #[inline]
    pub(super) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl Iterator for Places {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let place = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn places_come_in_their_order() {
        let mut places = Places::first(4);
        places.remove(1);
        places.add_if(true, 9);
        places.add_if(false, 8);
        assert_eq!(places.collect::<Vec<_>>(), [0, 2, 3, 9]);
        assert!(places.has(9) && !places.has(1) && !places.has(8));
        assert_eq!(places.without(Places::first(3)).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(Places::first(0).count(), 0);
        assert_eq!(Places::first(16).count(), 16);
    }
}
