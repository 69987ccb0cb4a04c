//! The connections of a data thread that wait for the metrics page.
//!
//! One page is asked for at a time and given to all who asked before it was: however many they are, there
//! is one request and one reply under way, and nobody gets a page older than the question. What clients take
//! slowly is kept for them, a bounded number of pages in all.

use std::time::Duration;

use crate::time::MonotonicNs;

/// How long the control plane may take for a metrics page.
pub(super) const METRICS: Duration = Duration::from_secs(10);

/// Most pages that are kept for connections that have not taken all of theirs.
const MAX_PAGES_HELD: usize = 16;

/// A connection that has not taken all of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// Its place.
    pub(super) index: u32,
    /// The name of its page.
    pub(super) round: u64,
}

/// A connection that waits for a page, by its place and its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) index: u32,
    pub(super) life: u32,
}

/// The connections that wait, and those that hold what they waited for.
#[derive(Debug)]
pub(super) struct PageQueue {
    /// Those whom the page that is under way is for.
    asked: Vec<Waiter>,
    /// Those who came after it was asked for.
    waiting: Vec<Waiter>,
    /// Until when the page that is under way is waited for.
    until: Option<MonotonicNs>,
    round: u64,
    /// Those that hold a page, in the order of the pages.
    holders: Vec<Holder>,
}

impl PageQueue {
    /// A queue that has room for as many as there are places.
    pub(super) fn new(places: usize) -> Self {
        let (asked, waiting) = (Vec::with_capacity(places), Vec::with_capacity(places));
        Self { asked, waiting, until: None, round: 0, holders: Vec::with_capacity(places) }
    }

    /// Lets a connection wait; `false` when there is no room, which those who are gone may take up.
    pub(super) fn join(&mut self, waiter: Waiter) -> bool {
        let has_room = self.waiting.len() < self.waiting.capacity();
        if has_room {
            self.waiting.push(waiter);
        }
        has_room
    }

    /// The name of the page to be asked for now, if one is.
    pub(super) fn begin_round(&mut self, now: MonotonicNs) -> Option<u64> {
        if self.waiting.is_empty() || self.until.is_some_and(|until| now < until) {
            return None;
        }
        self.asked.clear();
        std::mem::swap(&mut self.asked, &mut self.waiting);
        self.until = Some(now.after(METRICS));
        self.round += 1;
        Some(self.round)
    }

    /// Takes note that a page is there; whether it is the one that is waited for.
    pub(super) fn arrived(&mut self, round: u64) -> bool {
        let expected = self.until.is_some() && round == self.round;
        if expected {
            self.until = None;
        }
        expected
    }

    /// The next of those whom the page is for.
    pub(super) fn next_asked(&mut self) -> Option<Waiter> {
        self.asked.pop()
    }

    /// Takes note that a connection holds the newest page.
    pub(super) fn hold(&mut self, index: u32) {
        self.holders.push(Holder { index, round: self.round });
    }

    /// Makes room for one more page: forgets those that hold theirs no longer, and when there are as many pages as
    /// may be, puts the connections that hold the oldest into `surplus`, to be closed.
    pub(super) fn make_room(&mut self, holds: impl Fn(Holder) -> bool, surplus: &mut Vec<u32>) {
        self.holders.retain(|holder| holds(*holder));
        let mut pages = self.holders.chunk_by(|one, next| one.round == next.round);
        let oldest = pages.next().map_or(0, <[Holder]>::len);
        if pages.count() + 1 >= MAX_PAGES_HELD {
            surplus.extend(self.holders.drain(..oldest).map(|holder| holder.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(index: u32) -> Waiter {
        Waiter { index, life: 1 }
    }

    #[test]
    fn all_who_asked_before_a_page_was_get_it_and_the_others_the_next() {
        let mut pages = PageQueue::new(8);
        let now = MonotonicNs(0);
        assert_eq!(pages.begin_round(now), None);
        assert!(pages.join(waiter(1)) && pages.join(waiter(2)));
        assert_eq!(pages.begin_round(now), Some(1));
        assert!(pages.join(waiter(3)));
        assert_eq!(pages.begin_round(now), None);
        assert!(pages.arrived(1) && !pages.arrived(1));
        assert_eq!(std::iter::from_fn(|| pages.next_asked()).collect::<Vec<_>>(), [waiter(2), waiter(1)]);
        assert_eq!(pages.begin_round(now), Some(2));
        assert!(pages.arrived(2));
        assert_eq!(pages.next_asked(), Some(waiter(3)));
    }

    #[test]
    fn a_page_that_does_not_come_is_asked_for_again_and_is_late_then() {
        let mut pages = PageQueue::new(8);
        assert!(pages.join(waiter(1)));
        assert_eq!(pages.begin_round(MonotonicNs(0)), Some(1));
        assert!(pages.join(waiter(2)));
        let later = MonotonicNs(0).after(METRICS);
        assert_eq!(pages.begin_round(later), Some(2));
        assert!(!pages.arrived(1) && pages.arrived(2));
        assert_eq!(pages.next_asked(), Some(waiter(2)));
        assert_eq!(pages.next_asked(), None);
    }

    #[test]
    fn the_oldest_page_goes_when_too_many_are_held() {
        let mut pages = PageQueue::new(64);
        let mut surplus = Vec::new();
        let next_page = |pages: &mut PageQueue| {
            assert!(pages.join(waiter(0)));
            let round = pages.begin_round(MonotonicNs(0)).unwrap();
            assert!(pages.arrived(round));
        };
        for first in 1..=MAX_PAGES_HELD as u32 {
            next_page(&mut pages);
            pages.make_room(|_| true, &mut surplus);
            assert!(surplus.is_empty(), "{first}");
            pages.hold(first);
            pages.hold(first + 100);
        }
        // Those of one page have taken it all.
        next_page(&mut pages);
        pages.make_room(|holder| holder.round != 7, &mut surplus);
        assert!(surplus.is_empty());
        pages.hold(200);
        pages.make_room(|_| true, &mut surplus);
        assert_eq!(surplus, [1, 101]);
    }

    #[test]
    fn the_queue_does_not_grow() {
        let mut pages = PageQueue::new(2);
        let room = pages.waiting.capacity();
        assert!((0..room).all(|index| pages.join(waiter(index as u32))));
        assert!(!pages.join(waiter(0)));
    }
}
