//! Where a bucket is: its window of lines, and which of them to look at first.

// Not the model's: it only says where to look first.
use std::hint::select_unpredictable;

use super::{BucketTable, GROUP};
use crate::bucket::hash::BucketId;
use crate::bucket::line::Hints;

/// The lines in which a bucket may be, in the order they are looked at: those of two groups, by their numbers.
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
        group * GROUP + ((self.offset ^ step) % GROUP)
    }
}

impl BucketTable {
    pub(super) fn window(&self, id: BucketId) -> Window {
        let (low, high) = (id.get() as usize, (id.get() >> 64) as usize);
        let mask = self.groups - 1;
        let first = (low / GROUP) & mask;
        let second = high & mask;
        let second = if second == first { first ^ 1 } else { second };
        Window { first, second, offset: low % GROUP }
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
        if self.tags_are_near {
            return self.tagged_line(id, &window);
        }
        self.prefetch_tags(&window);
        // Two of five that are not in their first line are in this one: it comes with the tags, not after them.
        self.lines.prefetch(window.at(GROUP));
        let first = &self.lines[window.at(0)];
        if first.may_hold(id) {
            return window.at(0);
        }
        self.hinted_line(id, &window, first.hints()).unwrap_or_else(|| self.tagged_line(id, &window))
    }

    /// Whether a bucket seems to be in its first line, and if it is not, where that line hints at.
    #[inline]
    pub(super) fn look_in_first(&self, id: BucketId, window: &Window) -> (bool, Hints) {
        let first = &self.lines[window.at(0)];
        let (is_here, hints) = (first.may_hold(id), first.hints());
        (is_here, select_unpredictable(is_here, Hints::NONE, hints))
    }

    /// The line that holds a bucket which is not in its first line, if that one hints at it.
    #[inline]
    pub(super) fn hinted_past_first(&self, id: BucketId, window: &Window) -> Option<usize> {
        self.hinted_line(id, window, self.lines[window.at(0)].hints())
    }

    /// The line that holds a bucket, if it is one of those that were hinted at.
    #[inline]
    pub(super) fn hinted_line(&self, id: BucketId, window: &Window, hints: Hints) -> Option<usize> {
        if hints.is_none() {
            return None;
        }
        hints.steps().map(|step| window.at(step)).into_iter().find(|line| self.lines[*line].may_hold(id))
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
        let first = &self.lines[window.at(0)];
        if first.may_hold(id) {
            return Some(window.at(0));
        }
        self.hinted_line(id, &window, first.hints())
            .or_else(|| self.find_tagged(id, &window))
            .or_else(|| self.find_untagged(id, &window))
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bucket::hash::KeyHasher;
    use crate::bucket::table::OnTableFull;
    use crate::bucket::table_tests::{limit, table};
    use crate::time::MonotonicNs;

    #[test]
    fn first_lines_hint_at_nearly_all_buckets_that_are_elsewhere() {
        let (table, limits) = (table(1 << 12, OnTableFull::Deny), limit(1, 10));
        let hasher = KeyHasher::new([1; 16]);
        let prefix = hasher.prefix(1);
        let ids: Vec<BucketId> = (0..3072_u32).map(|n| hasher.hash(&prefix, &n.to_le_bytes())).collect();
        ids.iter().for_each(|id| assert!(table.charge(*id, &limits, 1, MonotonicNs(0)).allowed));
        let at_home = |id: &&BucketId| table.find(**id) == Some(table.window(**id).at(0));
        let (here, elsewhere): (Vec<&BucketId>, Vec<_>) = ids.iter().partition(at_home);
        let is_hinted = |id: &&&BucketId| table.hinted_past_first(***id, &table.window(***id)).is_some();
        let hinted = elsewhere.iter().filter(is_hinted).count();
        assert!(elsewhere.len() > ids.len() / 4 && hinted * 20 > elsewhere.len() * 19, "{hinted}");
        for id in here {
            assert_eq!(table.look_in_first(*id, &table.window(*id)), (true, Hints::NONE));
        }
    }
}
