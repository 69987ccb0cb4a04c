//! A number for each line, apart from the lines: what one thread notes of them and no check reads.
//!
//! In memory like that of the lines, since it is read in the order of their hashes: a note on a small page would
//! cost a walk of the page tables besides the miss.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::PageSlice;

/// A note a line, zero at first.
#[derive(Debug)]
pub(crate) struct LineNotes {
    // Notes have one thread, and are atomics for the sake of their memory alone.
    notes: PageSlice<AtomicU64>,
}

impl LineNotes {
    /// Bytes that a line takes.
    pub(crate) const BYTES_PER_LINE: usize = size_of::<AtomicU64>();

    /// For `lines` lines.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    pub(crate) fn new(lines: usize) -> io::Result<Self> {
        Ok(Self { notes: PageSlice::new(lines)? })
    }

    /// Asks the cache for the note of a line.
    #[inline]
    pub(crate) fn prefetch(&self, line: usize) {
        self.notes.prefetch(line);
    }

    /// The note of a line.
    #[inline]
    pub(crate) fn get(&self, line: usize) -> u64 {
        self.notes[line].load(Ordering::Relaxed)
    }

    /// Notes something of a line.
    #[inline]
    pub(crate) fn set(&self, line: usize, note: u64) {
        self.notes[line].store(note, Ordering::Relaxed);
    }

    /// Makes every note zero again. A note that is zero is not written, so that its page need not be taken.
    pub(crate) fn clear(&self) {
        (0..self.notes.len()).filter(|line| self.get(*line) != 0).for_each(|line| self.set(line, 0));
    }
}
