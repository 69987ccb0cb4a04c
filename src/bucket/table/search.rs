//! Where a bucket is: its window of lines, and which of them to look at first.

use super::{BucketTable, GROUP};
use crate::bucket::hash::BucketId;

/// The lines in which a bucket may be, in the order they are looked at.
pub(super) struct Window {
    pub(super) first: usize,
    pub(super) second: usize,
    offset: usize,
}

impl Window {
    /// Neighbours come in pairs (128 bytes), which the hardware fetches together.
    #[inline]
    pub(super) const fn at(&self, step: usize) -> usize {
        let group = if step < GROUP { self.first } else { self.second };
        group + ((self.offset ^ step) % GROUP)
    }
}

impl BucketTable {
    pub(super) fn window(&self, id: BucketId) -> Window {
        let (low, high) = (id.get() as usize, (id.get() >> 64) as usize);
        let mask = self.groups - 1;
        let first = (low / GROUP) & mask;
        let second = high & mask;
        let second = if second == first { first ^ 1 } else { second };
        Window { first: first * GROUP, second: second * GROUP, offset: low % GROUP }
    }

    #[inline]
    pub(super) fn prefetch_tags(&self, window: &Window) {
        self.tags.prefetch(window.first);
        self.tags.prefetch(window.second);
    }

    /// Lines of the window that have the tag of `id`.
    #[inline]
    pub(super) fn tagged(&self, id: BucketId, window: &Window) -> impl Iterator<Item = usize> {
        self.tags.candidates(window.first, window.second, id)
    }

    /// The line in which a bucket is, but for one in a few dozen, if it is anywhere.
    ///
    /// Which of its lines holds a bucket no processor foretells: where tags cost no miss, no branch asks.
    #[inline]
    pub(super) fn likely_line(&self, id: BucketId) -> usize {
        let window = self.window(id);
        if !self.tags_are_near {
            self.prefetch_tags(&window);
            // Two of five that are not in their first line are in this one: it comes with the tags, not after them.
            self.lines.prefetch(window.at(GROUP));
            let first = window.at(0);
            if self.lines[first].may_hold(id) {
                return first;
            }
        }
        self.tagged_line(id, &window)
    }

    /// The line of a window that tags name first.
    #[inline]
    pub(super) fn tagged_line(&self, id: BucketId, window: &Window) -> usize {
        self.tags.likely(window.first, window.second, id)
    }

    /// The line that holds `id`, as far as one pass over the window can tell.
    #[inline]
    pub(super) fn find(&self, id: BucketId) -> Option<usize> {
        let window = self.window(id);
        // When the first line holds another bucket, the tags have been fetched meanwhile.
        self.prefetch_tags(&window);
        self.find_near(id, &window)
    }

    /// The same, where what may be needed has been asked for before.
    #[inline]
    pub(super) fn find_near(&self, id: BucketId, window: &Window) -> Option<usize> {
        let first = window.at(0);
        if self.lines[first].may_hold(id) {
            return Some(first);
        }
        self.find_tagged(id, window).or_else(|| self.find_untagged(id, window))
    }

    /// The line that tags name, if it holds `id`.
    #[inline]
    pub(super) fn find_tagged(&self, id: BucketId, window: &Window) -> Option<usize> {
        self.tagged(id, window).find(|line| self.lines[*line].may_hold(id))
    }

    /// Looks at one line after the other: a thread that has just claimed a line may not have set its tag yet.
    fn find_untagged(&self, id: BucketId, window: &Window) -> Option<usize> {
        // No key goes anywhere else while this line is empty.
        if self.lines[window.at(0)].is_empty() {
            return None;
        }
        self.find_in_group(id, window, 0).or_else(|| self.find_in_group(id, window, GROUP))
    }

    #[inline]
    fn find_in_group(&self, id: BucketId, window: &Window, from: usize) -> Option<usize> {
        for step in from..from + GROUP {
            let index = window.at(step);
            let line = &self.lines[index];
            if line.may_hold(id) {
                return Some(index);
            }
            if line.is_empty() {
                return None;
            }
        }
        None
    }
}
