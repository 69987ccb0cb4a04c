//! A number for each line, apart from the lines: what one thread notes of them and no check reads.
//!
//! In memory like that of the lines, since it is read in the order of their hashes: a note on a small page would
//! cost a walk of the page tables besides the miss.

use std::io;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::memory::{Atoms, PageSlice};

/// What can be noted.
pub(crate) trait Note: Copy {
    /// How it lies in memory.
    type Atom: Atoms + std::fmt::Debug;
    fn read(atom: &Self::Atom) -> Self;
    fn write(self, atom: &Self::Atom);
}

// Relaxed: notes have one thread, and are atomics for the sake of their memory alone.
impl Note for u16 {
    type Atom = AtomicU16;

    fn read(atom: &AtomicU16) -> Self {
        atom.load(Ordering::Relaxed)
    }

    fn write(self, atom: &AtomicU16) {
        atom.store(self, Ordering::Relaxed);
    }
}

impl Note for u64 {
    type Atom = AtomicU64;

    fn read(atom: &AtomicU64) -> Self {
        atom.load(Ordering::Relaxed)
    }

    fn write(self, atom: &AtomicU64) {
        atom.store(self, Ordering::Relaxed);
    }
}

/// A note a line, zero at first.
#[derive(Debug)]
pub(crate) struct LineNotes<N: Note> {
    notes: PageSlice<N::Atom>,
}

impl<N: Note> LineNotes<N> {
    /// Bytes that a line takes.
    pub(crate) const BYTES_PER_LINE: usize = size_of::<N::Atom>();

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
    pub(crate) fn get(&self, line: usize) -> N {
        N::read(&self.notes[line])
    }

    /// Notes something of a line.
    #[inline]
    pub(crate) fn set(&self, line: usize, note: N) {
        note.write(&self.notes[line]);
    }

    /// Makes every note zero again. A note that is zero is not written, so that its page need not be taken.
    pub(crate) fn clear(&self)
    where
        N: Default + PartialEq,
    {
        let zero = N::default();
        (0..self.notes.len()).filter(|line| self.get(*line) != zero).for_each(|line| self.set(line, zero));
    }
}
