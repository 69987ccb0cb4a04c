//! Which lines of a group may hold a bucket: a byte of each line's identity, so that one word tells of eight lines.
//!
//! Hints, and no more: a tag is set when its line is named, and nobody waits for it. A search that
//! finds none looks at all lines, and one that finds some looks into those lines.

// Not the model's: what is read here only says where to look first.
use std::hint::select_unpredictable;
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

    /// Asks the cache for the tags of a group.
    #[inline]
    pub(super) fn prefetch(&self, group: usize) {
        self.words.prefetch(group);
    }

    /// The lines that may hold `id`, of the groups `first` and `second`.
    #[inline]
    pub(super) fn candidates(
        &self,
        first: usize,
        second: usize,
        id: BucketId,
    ) -> impl Iterator<Item = usize> {
        [first, second].into_iter().flat_map(move |group| {
            let mut hits = self.hits(group, id);
            std::iter::from_fn(move || {
                let line = (hits != 0).then(|| group * GROUP + place_of(hits))?;
                hits &= hits - 1;
                Some(line)
            })
        })
    }

    /// The first of them, or any other line of the groups when there is none.
    #[inline]
    pub(super) fn likely(&self, first: usize, second: usize, id: BucketId) -> usize {
        let words = [first, second].map(|group| self.words[group].load(Ordering::Relaxed));
        let place = first_of(words, tag(id));
        // Which group it is in no processor foretells.
        select_unpredictable(place < TAGS, first, second) * GROUP + place % GROUP
    }

    /// The high bit of the byte of each line of a group that has the tag of `id`.
    #[inline]
    fn hits(&self, group: usize, id: BucketId) -> u64 {
        zero_bytes(self.words[group].load(Ordering::Relaxed) ^ spread(tag(id)))
    }
}

/// The place in its group that the lowest of `hits` stands for; eight when there is none.
#[inline]
const fn place_of(hits: u64) -> usize {
    (hits.trailing_zeros() / TAG_BITS) as usize
}

/// Bits of the identity that do not choose the place; zero is for lines that were never named.
#[inline]
fn tag(id: BucketId) -> u8 {
    ((id.get() >> 120) as u8).max(1)
}

/// A tag in each byte.
#[inline]
const fn spread(tag: u8) -> u64 {
    tag as u64 * LOW_BITS
}

/// The place of the first of sixteen tags that is `tag`; sixteen or more when none is.
#[inline]
fn first_of(tags: [u64; 2], tag: u8) -> usize {
    #[cfg(target_arch = "x86_64")]
    return first_by_vector(tags, tag);
    #[cfg(not(target_arch = "x86_64"))]
    return first_by_words(tags, tag);
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn first_by_words(tags: [u64; 2], tag: u8) -> usize {
    let [first, second] = tags.map(|word| place_of(zero_bytes(word ^ spread(tag))));
    if first < TAGS { first } else { TAGS + second }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[inline]
fn first_by_vector([first, second]: [u64; 2], tag: u8) -> usize {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: SSE2 is part of x86-64.
    let equal = unsafe {
        let tags = _mm_set_epi64x(second as i64, first as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8)))
    };
    equal.trailing_zeros() as usize
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
                let group = line / 8;
                let found: Vec<usize> = tags.candidates(group, 1 - group, *id).collect();
                prop_assert!(found.contains(&line));
                prop_assert!(found.iter().all(|at| tag(ids[*at]) == tag(*id)));
                prop_assert_eq!(tags.likely(group, 1 - group, *id), found[0]);
            }
            // Another name in its line is another tag.
            let other = BucketId::from_u128(names[group * 8] ^ 1 << 127);
            tags.set(group * 8, other);
            prop_assert!(tags.candidates(0, 1, other).any(|line| line == group * 8));
        }
    }

    proptest! {
        #[test]
        fn the_first_tag_is_found_alike_by_words_and_by_this_processor(
            tags in proptest::array::uniform16(0..4_u8), tag in 1..5_u8,
        ) {
            let place = tags.iter().position(|it| *it == tag);
            let (words, _) = tags.as_chunks();
            let words = [words[0], words[1]].map(u64::from_le_bytes);
            for found in [first_of(words, tag), first_by_words(words, tag)] {
                prop_assert_eq!((found < 16).then_some(found), place);
            }
        }
    }

    #[test]
    fn lines_that_were_never_named_are_no_candidates() {
        let tags = Tags::<8>::new(16).unwrap();
        let zero_tag = BucketId::from_u128(7);
        assert_eq!(tags.candidates(0, 1, zero_tag).count(), 0);
        assert!(tags.likely(0, 1, zero_tag) < 16);
        tags.set(3, zero_tag);
        assert_eq!(tags.candidates(0, 1, zero_tag).collect::<Vec<_>>(), [3]);
        assert_eq!(tags.likely(1, 0, zero_tag), 3);
    }
}
