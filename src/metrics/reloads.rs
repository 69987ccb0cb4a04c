//! How reloads went.

use std::sync::atomic::{AtomicU64, Ordering};

/// Reloads of the policies, counted by who reloads and read by who renders.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    refused: AtomicU64,
}

impl Reloads {
    /// Counts one.
    pub fn count(&self, applied: bool) {
        // Relaxed: counts for people.
        (if applied { &self.applied } else { &self.refused }).fetch_add(1, Ordering::Relaxed);
    }

    /// Those that put new policies in force.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Those that left the old ones in force.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
