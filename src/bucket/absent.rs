//! What a charge also does on account of peers that cannot be heard, or have just come back.

use super::spec::SLOTS_KEPT;
use super::sync::{AtomicU32, AtomicU64, Ordering};

const NOTED: u32 = 1 << 31;

/// What charges of a slot do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absent(u32);

impl Absent {
    /// Nothing: every peer is heard, and nothing that was charged for one is left.
    pub(crate) const NONE: Self = Self(0);

    /// Charge for absent peers too, by a factor in 1/65536 of the charge, and note the level that was found.
    pub(crate) const fn noted(factor: u32) -> Self {
        Self(if factor < NOTED { factor | NOTED } else { u32::MAX })
    }

    #[inline]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// What is charged for absent peers with `cost` tokens, in 1/65536 of a token.
    pub(crate) const fn fixed(self, cost: u64) -> u64 {
        cost.saturating_mul((self.0 & !NOTED) as u64)
    }
}

/// That of each slot.
#[derive(Debug)]
pub(crate) struct AbsentPeers {
    /// For how many slots there is something.
    active: AtomicU64,
    slots: Box<[AtomicU32]>,
}

impl AbsentPeers {
    pub(crate) fn new() -> Self {
        Self { active: AtomicU64::new(0), slots: (0..SLOTS_KEPT).map(|_| AtomicU32::new(0)).collect() }
    }

    /// That of a slot.
    #[inline]
    pub(crate) fn of(&self, slot: u16) -> Absent {
        // Relaxed: it guides an estimate, it publishes nothing.
        if self.active.load(Ordering::Relaxed) == 0 {
            return Absent::NONE;
        }
        self.slots.get(usize::from(slot)).map_or(Absent::NONE, |slot| Absent(slot.load(Ordering::Relaxed)))
    }

    /// Only one thread sets any.
    pub(crate) fn set(&self, slot: u16, absent: Absent) {
        let Some(cell) = self.slots.get(usize::from(slot)) else { return };
        let before = cell.swap(absent.0, Ordering::Relaxed);
        match (before == 0, absent.is_none()) {
            (true, false) => drop(self.active.fetch_add(1, Ordering::Relaxed)),
            (false, true) => drop(self.active.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}
