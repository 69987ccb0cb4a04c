//! Which lines were charged since somebody last looked: a bit a line, a bit a word of these.

use super::sync::{AtomicU64, Ordering, fence, full_barrier_after_exchange};

/// Bits set by data threads, taken by one other.
#[derive(Debug)]
pub(crate) struct ChangeMap {
    lines: Box<[AtomicU64]>,
    words: Box<[AtomicU64]>,
}

impl ChangeMap {
    pub(crate) fn new(lines: usize) -> Self {
        let words = lines.div_ceil(64);
        let zeros = |len: usize| (0..len).map(|_| AtomicU64::new(0)).collect();
        Self { lines: zeros(words), words: zeros(words.div_ceil(64)) }
    }

    /// Marks a line whose pair this thread has just exchanged.
    #[inline]
    pub(crate) fn mark(&self, line: usize) {
        // Either the load below sees that the bit was taken, or who took it sees the new count.
        full_barrier_after_exchange();
        let (word, bit) = (line / 64, 1 << (line % 64));
        // Relaxed: ordered by the barrier; the bits publish nothing but themselves.
        if self.lines[word].load(Ordering::Relaxed) & bit == 0 {
            self.set(word, bit);
        }
    }

    #[cold]
    fn set(&self, word: usize, bit: u64) {
        if self.lines[word].fetch_or(bit, Ordering::Relaxed) == 0 {
            // Release: the thread that takes this bit sees the one below it.
            self.words[word / 64].fetch_or(1 << (word % 64), Ordering::Release);
        }
    }

    /// Takes all bits: calls `changed` with the number of each word that has any, in order, and with its bits, one for
    /// each of 64 lines in a row.
    pub(crate) fn drain(&self, mut changed: impl FnMut(usize, u64)) {
        for (index, words) in self.words.iter().enumerate() {
            if words.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let words = words.swap(0, Ordering::Acquire);
            let mut taken = [0; 64];
            ones(words).for_each(|bit| taken[bit] = self.lines[index * 64 + bit].swap(0, Ordering::Relaxed));
            // The other half of the barrier in `mark`: counts are read after the bits are taken.
            fence(Ordering::SeqCst);
            ones(words).for_each(|word| changed(index * 64 + word, taken[word]));
        }
    }
}

/// The positions of the bits that are set.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_marked_line_is_told_once_until_it_is_marked_again() {
        let map = ChangeMap::new(1 << 14);
        let drain = || {
            let mut lines = vec![];
            map.drain(|word, bits| lines.extend(ones(bits).map(|bit| word * 64 + bit)));
            lines
        };
        for line in [16_383, 0, 64, 63, 0, 5000] {
            map.mark(line);
        }
        assert_eq!(drain(), [0, 63, 64, 5000, 16_383]);
        assert!(drain().is_empty());
        map.mark(64);
        assert_eq!(drain(), [64]);
    }
}
