//! Two words of a line that say several things each.

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

/// What was charged for peers that cannot be heard, in 1/65536 of a token, and whether the bucket was full again after
/// some of it was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phantom(pub(super) u64);

const IDLED: u64 = 1 << 63;

impl Phantom {
    pub(super) const fn fixed(self) -> u64 {
        self.0 & !IDLED
    }

    pub(super) const fn has_idled(self) -> bool {
        self.0 & IDLED != 0
    }

    /// With what is charged besides; `idle` says that the bucket was full before that.
    pub(super) fn plus(self, fixed: u64, idle: bool) -> Self {
        let idled = if idle && self.0 != 0 { IDLED } else { self.0 & IDLED };
        Self(self.fixed().saturating_add(fixed).min(!IDLED) | idled)
    }
}
