//! Many buckets found together, so that their cache misses overlap.
//!
//! Prefetches are spread over loops that do other work: of too many at once a core drops some. Where a loop does
//! nothing else, loads that nothing waits for stand in for them.

use std::hint::black_box;

use arrayvec::ArrayVec;

use super::BucketTable;
use super::search::Window;
use crate::bucket::hash::BucketId;

/// Buckets that are sought at once.
const TOGETHER: usize = 64;

impl BucketTable {
    /// Calls `found` with the line of each bucket in turn, `None` for one that is not there; the lines are in the
    /// cache then.
    ///
    /// Most buckets are in their first line. Tags say where the others may be.
    pub(crate) fn locate(&self, ids: &[BucketId], mut found: impl FnMut(Option<usize>)) {
        for ids in ids.chunks(TOGETHER) {
            let windows = self.prefetch_together(ids);
            ids.iter().zip(&windows).for_each(|(id, window)| found(self.find_near(*id, window)));
        }
    }

    /// Asks the cache for all that coming charges will touch.
    pub(crate) fn prefetch_batch(&self, ids: &[BucketId]) {
        ids.chunks(TOGETHER).for_each(|ids| _ = self.prefetch_together(ids));
    }

    /// Asks the cache for the lines of at most [`TOGETHER`] buckets, and says where they may be.
    #[inline]
    fn prefetch_together(&self, ids: &[BucketId]) -> ArrayVec<Window, TOGETHER> {
        let windows: ArrayVec<Window, TOGETHER> = ids.iter().map(|id| self.asked_for(*id)).collect();
        self.prefetch_windows(ids, &windows);
        windows
    }

    /// The window of a bucket, whose first line is asked for.
    #[inline]
    pub(super) fn asked_for(&self, id: BucketId) -> Window {
        let window = self.window(id);
        self.lines.prefetch(window.at(0));
        window
    }

    /// Where the first line of a bucket holds another, asks for the tags of its groups, and then
    /// for the line that these name. Each line asked for in vain costs bandwidth.
    #[inline]
    fn prefetch_windows(&self, ids: &[BucketId], windows: &[Window]) {
        let mut elsewhere: ArrayVec<u8, TOGETHER> = ArrayVec::new();
        for (place, (id, window)) in ids.iter().zip(windows).enumerate() {
            if !self.lines[window.at(0)].may_hold(*id) {
                self.prefetch_tags(window);
                elsewhere.push(place as u8);
            }
        }
        for place in elsewhere {
            let place = usize::from(place);
            self.tagged(ids[place], &windows[place]).for_each(|line| self.lines.prefetch(line));
        }
    }

    /// Brings lines into the cache, by their numbers.
    pub(crate) fn fetch_lines(&self, lines: impl Iterator<Item = usize>) {
        let read = lines.fold(false, |read, line| read ^ self.lines[line].may_be_empty());
        black_box(read);
    }
}
