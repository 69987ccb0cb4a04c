//! Tokens charged here by slot of limits, from which follows what this node uses of each policy.
//!
//! They guide an estimate and publish nothing. What a batch that loses a race gives back is not taken off.

use std::sync::atomic::{AtomicU64, Ordering};

use super::spec::SLOTS_KEPT;

/// A sum a slot, which wraps around.
#[derive(Debug)]
pub(super) struct SlotSums {
    sums: Box<[AtomicU64]>,
}

impl SlotSums {
    pub(super) fn new() -> Self {
        Self { sums: (0..SLOTS_KEPT).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Adds tokens.
    pub(super) fn add(&self, slot: u16, tokens: u64) {
        if let Some(sum) = self.sums.get(usize::from(slot)) {
            sum.fetch_add(tokens, Ordering::Relaxed);
        }
    }

    /// The same as the only thread that adds any, without a locked instruction.
    #[inline]
    pub(super) fn add_alone(&self, slot: u16, tokens: u64) {
        if let Some(sum) = self.sums.get(usize::from(slot)) {
            sum.store(sum.load(Ordering::Relaxed).wrapping_add(tokens), Ordering::Relaxed);
        }
    }

    /// The sum of a slot.
    pub(super) fn get(&self, slot: u16) -> u64 {
        self.sums.get(usize::from(slot)).map_or(0, |sum| sum.load(Ordering::Relaxed))
    }
}
