//! Which lines were charged since somebody last looked, and which of them were then near their limit: two bits a line,
//! and a bit a word of these.
//!
//! Any thread can mark a line here. Those that charge most have a [log](super::change_log) of their own, and come here
//! when it is full.

use arrayvec::ArrayVec;

use super::places::Places;
use super::sync::{AtomicU64, Ordering, fence, full_barrier_after_exchange};

/// Bits set by those who charge, taken by one other.
#[derive(Debug)]
pub(crate) struct ChangeMap {
    lines: Box<[AtomicU64]>,
    urgent: Box<[AtomicU64]>,
    words: Box<[AtomicU64]>,
}

/// Words that a word of bits stands for.
const GROUP: usize = 64;
const BITS: usize = u64::BITS as usize;

/// A line that was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub line: u32,
    /// Whether it was then near its limit, and should be told first.
    pub is_urgent: bool,
}

impl ChangeMap {
    pub(crate) fn new(lines: usize) -> Self {
        let words = lines.div_ceil(BITS);
        let zeros = |len: usize| (0..len).map(|_| AtomicU64::new(0)).collect();
        Self { lines: zeros(words), urgent: zeros(words), words: zeros(words.div_ceil(GROUP)) }
    }

    /// Marks a line whose pair this thread has just exchanged.
    #[inline]
    pub(crate) fn mark(&self, line: usize, is_urgent: bool) {
        // Either the load below sees that the bit was taken, or who took it sees the new count.
        full_barrier_after_exchange();
        let (word, bit) = (line / BITS, 1 << (line % BITS));
        // Relaxed: ordered by the barrier; the bits publish nothing but themselves.
        let lacks = |bits: &[AtomicU64]| bits[word].load(Ordering::Relaxed) & bit == 0;
        if lacks(&self.lines) || (is_urgent && lacks(&self.urgent)) {
            self.set(word, bit, is_urgent);
        }
    }

    #[cold]
    fn set(&self, word: usize, bit: u64, is_urgent: bool) {
        if is_urgent {
            self.urgent[word].fetch_or(bit, Ordering::Relaxed);
        }
        // Release, as below: the thread that takes this bit sees what was set before it.
        if self.lines[word].fetch_or(bit, Ordering::Release) == 0 {
            self.words[word / GROUP].fetch_or(1 << (word % GROUP), Ordering::Release);
        }
    }

    /// Takes all bits: calls `changed` with the lines that have one, in order and some at a time.
    pub(crate) fn drain(&self, mut changed: impl FnMut(&[Change])) {
        for (group, words) in self.words.iter().enumerate() {
            if words.load(Ordering::Relaxed) == 0 {
                continue;
            }
            for word in Places::of_bits(words.swap(0, Ordering::Acquire)) {
                let taken = self.take(group * GROUP + word);
                // The other half of the barrier in `mark`: counts are read after the bits are taken.
                fence(Ordering::SeqCst);
                changed(&taken);
            }
        }
    }

    /// Takes the bits of a word.
    fn take(&self, word: usize) -> ArrayVec<Change, BITS> {
        let lines = self.lines[word].swap(0, Ordering::Acquire);
        let is_any_urgent = self.urgent[word].load(Ordering::Relaxed) != 0;
        let urgent = if is_any_urgent { self.urgent[word].swap(0, Ordering::Relaxed) } else { 0 };
        // A line whose second bit alone is set yet has changed too.
        let change = |bit| Change { line: (word * BITS + bit) as u32, is_urgent: urgent >> bit & 1 == 1 };
        Places::of_bits(lines | urgent).map(change).collect()
    }
}

/// The lines that `drain` calls with, and which of them are urgent.
#[cfg(all(test, not(loom)))]
pub(super) fn drained(drain: impl FnOnce(&mut dyn FnMut(&[Change]))) -> Vec<(u32, bool)> {
    let mut drained = vec![];
    drain(&mut |some| drained.extend(some.iter().map(|change| (change.line, change.is_urgent))));
    drained
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn drain(map: &ChangeMap) -> Vec<(u32, bool)> {
        drained(|changed| map.drain(changed))
    }

    #[test]
    fn a_marked_line_is_told_once_until_it_is_marked_again() {
        let map = ChangeMap::new(1 << 14);
        for line in [16_383, 0, 64, 63, 0, 5000] {
            map.mark(line, false);
        }
        assert_eq!(drain(&map), [0, 63, 64, 5000, 16_383].map(|line| (line, false)));
        assert!(drain(&map).is_empty());
        map.mark(64, false);
        assert_eq!(drain(&map), [(64, false)]);
    }

    #[test]
    fn a_line_that_was_once_near_its_limit_is_urgent_until_it_is_told() {
        let map = ChangeMap::new(256);
        for (line, is_urgent) in [(3, false), (3, true), (3, false), (70, false), (200, true)] {
            map.mark(line, is_urgent);
        }
        assert_eq!(drain(&map), [(3, true), (70, false), (200, true)]);
        map.mark(3, false);
        assert_eq!(drain(&map), [(3, false)]);
    }

    #[test]
    fn what_is_half_marked_as_urgent_while_its_neighbours_are_taken_is_urgent_when_it_is_told() {
        let map = ChangeMap::new(256);
        map.urgent[1].fetch_or(1, Ordering::Relaxed);
        map.mark(3, true);
        assert_eq!(drain(&map), [(3, true)]);
        map.mark(66, false);
        assert_eq!(drain(&map), [(64, true), (66, false)]);
        map.urgent[1].fetch_or(1, Ordering::Relaxed);
        map.lines[1].fetch_or(1, Ordering::Relaxed);
        map.words[0].fetch_or(1 << 1, Ordering::Relaxed);
        assert_eq!(drain(&map), [(64, true)]);
    }
}
