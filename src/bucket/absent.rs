//! What a charge also charges for peers that cannot be heard: a factor a slot.

use super::spec::MAX_SLOTS;
use super::sync::{AtomicU32, AtomicU64, Ordering};

/// Factors in 1/65536 of the charge, by slot.
#[derive(Debug)]
pub(crate) struct AbsentFactors {
    /// How many slots have a factor that is not zero.
    active: AtomicU64,
    factors: Box<[AtomicU32]>,
}

impl AbsentFactors {
    pub(crate) fn new() -> Self {
        let slots = if cfg!(loom) { 4 } else { MAX_SLOTS };
        Self { active: AtomicU64::new(0), factors: (0..slots).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The factor of a slot; zero while every peer is heard.
    #[inline]
    pub(crate) fn of(&self, slot: u16) -> u32 {
        // Relaxed: a factor guides an estimate, it publishes nothing.
        if self.active.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.factors.get(usize::from(slot)).map_or(0, |factor| factor.load(Ordering::Relaxed))
    }

    /// Only one thread sets factors.
    pub(crate) fn set(&self, slot: u16, factor: u32) {
        let Some(cell) = self.factors.get(usize::from(slot)) else { return };
        let before = cell.swap(factor, Ordering::Relaxed);
        match (before == 0, factor == 0) {
            (true, false) => drop(self.active.fetch_add(1, Ordering::Relaxed)),
            (false, true) => drop(self.active.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}
