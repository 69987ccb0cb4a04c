//! Which lines were charged since somebody last looked, and which of them were then near their limit: two bits a line,
//! and a bit a word of these.

use arrayvec::ArrayVec;

use super::memory::prefetch;
use super::sync::{AtomicU64, Ordering, fence, full_barrier_after_exchange};

/// Bits set by data threads, taken by one other.
#[derive(Debug)]
pub(crate) struct ChangeMap {
    lines: Box<[AtomicU64]>,
    urgent: Box<[AtomicU64]>,
    words: Box<[AtomicU64]>,
    urgent_words: Box<[AtomicU64]>,
}

/// Words that are taken together: those of a word of bits.
const GROUP: usize = 64;
/// Words of a cache line.
const CACHED_TOGETHER: usize = 8;
/// So many groups ahead are asked for: no exchange overlaps with the miss of another.
const GROUPS_AHEAD: usize = 2;

/// What has changed of 64 lines in a row, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangedLines {
    /// The first of them is line 64 times this.
    pub word: u32,
    /// Those that changed.
    pub lines: u64,
    /// Those of them that are near their limit, and should be told first.
    pub urgent: u64,
}

impl ChangedLines {
    /// One line.
    #[must_use]
    pub const fn of(line: u32, is_urgent: bool) -> Self {
        let bit = 1 << (line % u64::BITS);
        Self { word: line / u64::BITS, lines: bit, urgent: if is_urgent { bit } else { 0 } }
    }

    /// Their numbers.
    pub fn numbers(mut self) -> impl Iterator<Item = u32> {
        std::iter::from_fn(move || self.take_first())
    }

    /// Takes the first of them out, and returns its number.
    pub fn take_first(&mut self) -> Option<u32> {
        take_one(&mut self.lines).map(|bit| self.word * u64::BITS + bit as u32)
    }
}

impl ChangeMap {
    pub(crate) fn new(lines: usize) -> Self {
        let words = lines.div_ceil(64);
        let zeros = |len: usize| (0..len).map(|_| AtomicU64::new(0)).collect();
        let groups = words.div_ceil(GROUP);
        Self { lines: zeros(words), urgent: zeros(words), words: zeros(groups), urgent_words: zeros(groups) }
    }

    /// Asks the cache for what marks a line: after an exchange, which no load passes, it would be waited for.
    #[inline]
    pub(crate) fn prefetch(&self, line: usize) {
        prefetch(&self.lines, line / 64);
    }

    /// Marks a line whose pair this thread has just exchanged.
    #[inline]
    pub(crate) fn mark(&self, line: usize, is_urgent: bool) {
        // Either the load below sees that the bit was taken, or who took it sees the new count.
        full_barrier_after_exchange();
        let (word, bit) = (line / 64, 1 << (line % 64));
        // Relaxed: ordered by the barrier; the bits publish nothing but themselves.
        let lacks = |bits: &[AtomicU64]| bits[word].load(Ordering::Relaxed) & bit == 0;
        if lacks(&self.lines) || (is_urgent && lacks(&self.urgent)) {
            self.set(word, bit, is_urgent);
        }
    }

    #[cold]
    fn set(&self, word: usize, bit: u64, is_urgent: bool) {
        let (group, bit_of_word) = (word / GROUP, 1 << (word % GROUP));
        if is_urgent {
            self.urgent[word].fetch_or(bit, Ordering::Relaxed);
            self.urgent_words[group].fetch_or(bit_of_word, Ordering::Release);
        }
        // Release, as below and above: the thread that takes this bit sees what was set before it.
        if self.lines[word].fetch_or(bit, Ordering::Release) == 0 {
            self.words[group].fetch_or(bit_of_word, Ordering::Release);
        }
    }

    /// Takes all bits: calls `changed` with those words of which some have one, in order and some at a time.
    pub(crate) fn drain(&self, mut changed: impl FnMut(&[ChangedLines])) {
        let mut taken = ArrayVec::new();
        for (group, words) in self.words.iter().enumerate() {
            self.ask_for_group(group + GROUPS_AHEAD);
            if words.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let words = words.swap(0, Ordering::Acquire);
            taken.clear();
            self.take(group, words, &mut taken);
            self.take_urgent(group, words, &mut taken);
            // The other half of the barrier in `mark`: counts are read after the bits are taken.
            fence(Ordering::SeqCst);
            changed(&taken);
        }
    }

    /// Asks the cache for those words of a group that have bits.
    fn ask_for_group(&self, group: usize) {
        let mut words = self.words.get(group).map_or(0, |words| words.load(Ordering::Relaxed));
        let mut first = group * GROUP;
        while words != 0 {
            if words as u8 != 0 {
                prefetch(&self.lines, first);
            }
            words >>= CACHED_TOGETHER;
            first += CACHED_TOGETHER;
        }
    }

    /// Takes the bits of those of a group's words that `words` has a bit for.
    fn take(&self, group: usize, words: u64, taken: &mut ArrayVec<ChangedLines, GROUP>) {
        taken.extend(ones(words).map(|bit| {
            let word = group * GROUP + bit;
            let lines = self.lines[word].swap(0, Ordering::Acquire);
            ChangedLines { word: word as u32, lines, urgent: 0 }
        }));
    }

    /// Adds what is urgent of those words that were taken. Where nothing is near its limit, that is no exchange a word.
    fn take_urgent(&self, group: usize, words: u64, taken: &mut [ChangedLines]) {
        if self.urgent_words[group].load(Ordering::Relaxed) & words == 0 {
            return;
        }
        // Before the bits of lines: one that is set again in between tells of bits that are still there.
        let urgent = self.urgent_words[group].fetch_and(!words, Ordering::Acquire);
        for changed in taken.iter_mut().filter(|changed| urgent >> (changed.word as usize % GROUP) & 1 == 1) {
            changed.urgent = self.urgent[changed.word as usize].swap(0, Ordering::Relaxed);
            // A line whose second bit alone is set yet has changed too.
            changed.lines |= changed.urgent;
        }
    }
}

/// The positions of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || take_one(&mut word))
}

/// Clears the lowest bit that is set, and returns its position.
fn take_one(word: &mut u64) -> Option<usize> {
    let bit = (*word != 0).then(|| word.trailing_zeros() as usize)?;
    *word &= *word - 1;
    Some(bit)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn drain(map: &ChangeMap) -> Vec<(u32, bool)> {
        let mut drained = vec![];
        map.drain(|some| {
            for changed in some {
                let urgent = |line: u32| changed.urgent >> (line % 64) & 1 == 1;
                drained.extend(changed.numbers().map(|line| (line, urgent(line))));
            }
        });
        drained
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
        map.urgent_words[0].fetch_or(1 << 1, Ordering::Relaxed);
        map.mark(3, true);
        assert_eq!(drain(&map), [(3, true)]);
        map.lines[1].fetch_or(1, Ordering::Relaxed);
        map.words[0].fetch_or(1 << 1, Ordering::Relaxed);
        assert_eq!(drain(&map), [(64, true)]);
    }
}
