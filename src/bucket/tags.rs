//! Which lines of a group may hold a bucket: a byte of each line's identity, so that one word tells of eight lines.
//!
//! Hints, and no more: a tag is set when its line is named, and nobody waits for it. Who finds none looks at all
//! lines, and who finds one looks into the line.

// Not the model's: what is read here only says where to look first.
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::BucketId;
use super::memory::PageSlice;

/// Tags of one word, and bits of a tag.
const TAGS: usize = size_of::<u64>();
const TAG_BITS: u32 = u8::BITS;
const LOW_BITS: u64 = u64::MAX / u8::MAX as u64;
const HIGH_BITS: u64 = LOW_BITS << 7;

/// The tags of all lines, a word a group of `GROUP` lines, at most eight.
#[derive(Debug)]
pub(super) struct Tags<const GROUP: usize> {
    words: PageSlice<AtomicU64>,
}

impl<const GROUP: usize> Tags<GROUP> {
    /// For `lines` empty lines.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    pub(super) fn new(lines: usize) -> io::Result<Self> {
        const { assert!(GROUP <= TAGS) };
        Ok(Self { words: PageSlice::new(lines / GROUP)? })
    }

    /// Has the kernel give all of the memory now.
    ///
    /// # Errors
    /// When it has not so much.
    pub(super) fn populate(&self) -> io::Result<()> {
        self.words.populate()
    }

    /// Notes that `line` is named `id`.
    pub(super) fn set(&self, line: usize, id: BucketId) {
        let shift = (line % GROUP) as u32 * TAG_BITS;
        let others = !(u64::from(u8::MAX) << shift);
        let tagged = |word: u64| Some((word & others) | (u64::from(tag(id)) << shift));
        // Relaxed: it publishes nothing.
        let _ = self.words[line / GROUP].fetch_update(Ordering::Relaxed, Ordering::Relaxed, tagged);
    }

    /// Asks the cache for the tags of the group that begins at a line.
    #[inline]
    pub(super) fn prefetch(&self, first: usize) {
        self.words.prefetch(first / GROUP);
    }

    /// The lines of the group that begins at `first` which may hold `id`.
    #[inline]
    pub(super) fn candidates(&self, first: usize, id: BucketId) -> impl Iterator<Item = usize> {
        let word = self.words[first / GROUP].load(Ordering::Relaxed);
        let mut hits = zero_bytes(word ^ (u64::from(tag(id)) * LOW_BITS));
        std::iter::from_fn(move || {
            let at = (hits != 0).then(|| (hits.trailing_zeros() / TAG_BITS) as usize)?;
            hits &= hits - 1;
            Some(first + at)
        })
    }
}

/// Bits of the identity that do not choose the place; zero is for lines that were never named.
#[inline]
fn tag(id: BucketId) -> u8 {
    ((id.get() >> 120) as u8).max(1)
}

/// The high bit of each byte that is zero (Warren, Hacker's Delight, 6-1).
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    !(((word & !HIGH_BITS) + !HIGH_BITS) | word | !HIGH_BITS)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_named_is_found_and_little_else(names: [u128; 16], group in 0..2_usize) {
            let tags = Tags::<8>::new(16).unwrap();
            let ids = names.map(BucketId::from_u128);
            ids.iter().enumerate().for_each(|(line, id)| tags.set(line, *id));
            for (line, id) in ids.iter().enumerate() {
                let found: Vec<usize> = tags.candidates(line / 8 * 8, *id).collect();
                prop_assert!(found.contains(&line));
                prop_assert!(found.iter().all(|at| at / 8 == line / 8));
            }
            // Another name in its line is another tag.
            let other = BucketId::from_u128(names[group * 8] ^ 1 << 127);
            tags.set(group * 8, other);
            prop_assert!(tags.candidates(group * 8, other).any(|line| line == group * 8));
        }
    }

    #[test]
    fn lines_that_were_never_named_are_no_candidates() {
        let tags = Tags::<8>::new(16).unwrap();
        let zero_tag = BucketId::from_u128(7);
        assert_eq!(tags.candidates(0, zero_tag).count(), 0);
        tags.set(3, zero_tag);
        assert_eq!(tags.candidates(0, zero_tag).collect::<Vec<_>>(), [3]);
        assert_eq!(tags.candidates(8, zero_tag).count(), 0);
    }
}
