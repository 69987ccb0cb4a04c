//! A word of a line that says whose it is.

/// Whose line it is: the slot of the limits that `tat` is counted in, a bit for each peer whose counter is of this
/// owner, and how many owners there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta(pub(super) u64);

const PEERS_SHIFT: u32 = u16::BITS;
const OWNERS_SHIFT: u32 = 2 * u16::BITS;

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

    /// The number of the owner.
    pub(super) const fn owner(self) -> u64 {
        self.0 >> OWNERS_SHIFT
    }

    /// That of the next owner, to whom no peer is known.
    pub(super) const fn next_owner(self, slot: u16) -> Self {
        Self((self.owner().wrapping_add(1) << OWNERS_SHIFT) | slot as u64)
    }
}

const fn peer_bit(column: u32) -> u64 {
    1 << (PEERS_SHIFT + column)
}
