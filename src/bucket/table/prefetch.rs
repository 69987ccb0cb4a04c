//! Asking the cache for lines before they are needed, so that their misses overlap.
//!
//! Of too many requests at once a core drops some, so they are spread over loops that do other work.

use arrayvec::ArrayVec;

use super::BucketTable;
use super::search::Window;
use crate::bucket::hash::BucketId;
use crate::bucket::line::Hints;

/// Buckets that are sought at once.
const TOGETHER: usize = 64;

impl BucketTable {
    /// Asks the cache for what says where a bucket is.
    pub(crate) fn ask_for_tags(&self, id: BucketId) {
        self.prefetch_tags(&self.window(id));
    }

    /// Asks the cache for the line that a bucket is most likely in, as its tags have it, and says which.
    pub(crate) fn ask_for_tagged(&self, id: BucketId) -> usize {
        let line = self.tagged_line(id, &self.window(id));
        self.lines.prefetch(line);
        line
    }

    /// Asks the cache for a line, by its number.
    pub(crate) fn ask_for_line(&self, line: usize) {
        self.lines.prefetch(line);
    }

    /// Asks the cache for a line that is read once.
    pub(crate) fn ask_once_for_line(&self, line: usize) {
        self.lines.prefetch_once(line);
    }

    /// Asks the cache for all that coming charges will touch.
    pub(crate) fn prefetch_batch(&self, ids: &[BucketId]) {
        for ids in ids.chunks(TOGETHER) {
            let windows: ArrayVec<Window, TOGETHER> = ids.iter().map(|id| self.asked_for(*id)).collect();
            self.prefetch_windows(ids, &windows);
        }
    }

    /// The window of a bucket, whose first line is asked for.
    #[inline]
    pub(super) fn asked_for(&self, id: BucketId) -> Window {
        let window = self.window(id);
        self.ask_for_line(window.at(0));
        window
    }

    /// Where the first line of a bucket holds another, asks for the lines that it hints at, or without
    /// hints for the tags, and then for the line that these name. Each line asked for in vain costs bandwidth.
    #[inline]
    fn prefetch_windows(&self, ids: &[BucketId], windows: &[Window]) {
        let mut untold: ArrayVec<u8, TOGETHER> = ArrayVec::new();
        for (place, (id, window)) in ids.iter().zip(windows).enumerate() {
            let (is_here, hints) = self.look_in_first(*id, window);
            self.ask_for_hinted(window, hints);
            // No short circuit: whether it is here no processor foretells.
            if !is_here & hints.is_none() {
                self.prefetch_tags(window);
                untold.push(place as u8);
            }
        }
        for place in untold {
            let place = usize::from(place);
            self.tagged(ids[place], &windows[place]).for_each(|line| self.ask_for_line(line));
        }
    }

    /// Asks for the lines that a first line hints at; without hints only for that one, which is there.
    #[inline]
    pub(super) fn ask_for_hinted(&self, window: &Window, hints: Hints) {
        hints.steps().into_iter().for_each(|step| self.ask_for_line(window.at(step)));
    }
}
