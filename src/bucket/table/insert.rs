//! How a bucket is made.
//!
//! A thread reserves a line, names the bucket in it, and only then looks whether another thread did the same elsewhere
//! in the window (Dekker's handshake, by sequentially consistent fences): at least one of two sees the other and
//! withdraws.

use super::search::Window;
use super::{BucketTable, GROUP};
use crate::bucket::hash::BucketId;
use crate::bucket::limits::Limits;
use crate::bucket::line::Seen;
use crate::bucket::sync::{Ordering, Pair, fence};
use crate::time::{MonotonicNs, NS_PER_MS};

/// Counts begin at the epoch in milliseconds shifted by so many bits.
const EPOCH_SHIFT: u32 = 20;

/// What became of an attempt to make a bucket.
pub(super) enum Inserted {
    /// The bucket is there.
    Done,
    /// Another thread makes the same: to be looked for again.
    Again,
    /// No line is empty, and no bucket full again.
    Full,
}

impl BucketTable {
    pub(super) fn insert(&self, id: BucketId, limits: &Limits, now: MonotonicNs) -> Inserted {
        let window = self.window(id);
        let Some((index, reserved, was_empty)) = self.reserve(&window, now) else {
            return Inserted::Full;
        };
        let line = &self.lines[index];
        line.claim(id, limits.slot(), reserved);
        self.tags.set(index, id);
        self.hint_at(index, &window);
        // Sequentially consistent: of two threads that claimed, one sees the other's claim below.
        fence(Ordering::SeqCst);
        let twin = (0..2 * GROUP).map(|step| window.at(step)).any(|other| {
            other != index && matches!(self.lines[other].look(id), Seen::Mine | Seen::MineReserved)
        });
        let counter = if was_empty { &self.counts.occupied } else { &self.counts.evictions };
        counter.fetch_add(1, Ordering::Relaxed);
        if twin {
            line.abandon(reserved);
            return Inserted::Again;
        }
        self.counts.inserts.fetch_add(1, Ordering::Relaxed);
        line.publish(reserved, 0);
        Inserted::Done
    }

    /// Has the first line of a window hint at another line of it, where a bucket is.
    fn hint_at(&self, index: usize, window: &Window) {
        if let Some(step) = (1..2 * GROUP).find(|step| window.at(*step) == index) {
            self.lines[window.at(0)].add_hint(step);
        }
    }

    /// Reserves an empty line, or else the first whose bucket is full again.
    fn reserve(&self, window: &Window, now: MonotonicNs) -> Option<(usize, Pair, bool)> {
        let (first, second) = (self.used_lines(window.first), self.used_lines(window.second));
        let floor = self.count_floor(now);
        let first_is_taken = !self.lines[window.at(0)].is_empty();
        let half = if first_is_taken && second <= first { GROUP } else { 0 };
        let empty = (0..2 * GROUP)
            .map(|step| window.at(step ^ half))
            .filter(|index| self.lines[*index].is_empty())
            .find_map(|index| Some((index, self.lines[index].reserve(floor, |_, _| false)?, true)));
        empty.or_else(|| {
            let slots = self.slots.load();
            let is_full = |slot: u16, tat: u64| {
                slots.get(usize::from(slot)).is_some_and(|limits| tat <= limits.clock().at(now))
            };
            (0..2 * GROUP)
                .map(|step| window.at(step))
                .find_map(|index| Some((index, self.lines[index].reserve(floor, is_full)?, false)))
        })
    }

    /// Where a bucket made now begins to count: above all that this node ever said of any, since none
    /// admits 2^20 tokens a millisecond for longer than its burst lasts, and it must be full again
    /// before it gives way.
    pub(super) fn count_floor(&self, now: MonotonicNs) -> u64 {
        ((self.epoch_ms + now.0 / NS_PER_MS) << EPOCH_SHIFT).max(1)
    }

    fn used_lines(&self, group: usize) -> usize {
        self.lines[group * GROUP..][..GROUP].iter().filter(|line| !line.is_empty()).count()
    }
}
