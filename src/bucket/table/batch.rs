//! Several charges decided together, so that their cache misses, and what the processor can do of one
//! beside another, overlap.
//!
//! A locked exchange holds up all loads after it. So the lines of a round are first asked for, then all
//! read, and only then exchanged one after another. What was read may be of different moments, as in a
//! charge alone: the exchange of the pair makes sure of it, and who loses it charges as if alone.

use arrayvec::ArrayVec;

use super::{BatchItem, BucketTable, Charge, LIKELY, UNLIKELY, Window};
use crate::bucket::line::Prepared;
use crate::time::MonotonicNs;

/// Charges of one round: as many lines as a core can wait for at once, and few enough for the stack.
const ROUND: usize = 16;

/// An item of a round whose bucket has not been found yet.
struct Sought {
    item: usize,
    window: Window,
}

/// An item whose bucket has been found, in the state it was in.
struct Found {
    item: usize,
    line: usize,
    prepared: Option<Prepared>,
}

type SoughtItems = ArrayVec<Sought, ROUND>;
type FoundItems = ArrayVec<Found, ROUND>;

impl BucketTable {
    /// Charges each item on its own, as [`BucketTable::charge`] does, and says in it what became of it.
    ///
    /// Items of one bucket are charged in their order, unless another thread makes that bucket meanwhile.
    pub fn charge_each(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        if let [item] = items {
            item.charge = self.charge(item.id, item.limits, item.cost, now);
            return;
        }
        for round in items.chunks_mut(ROUND) {
            self.charge_round(round, now);
        }
    }

    /// Most buckets are in their first line, and are charged while the other lines of the rest arrive.
    fn charge_round(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        let mut sought: SoughtItems = items
            .iter()
            .enumerate()
            .map(|(item, wanted)| Sought { item, window: self.window(wanted.id) })
            .collect();
        for Sought { window, .. } in &sought {
            self.lines.prefetch(window.at(0));
        }
        let mut found = FoundItems::new();
        sought = self.look(items, sought, &mut found, now, |table, item, window| {
            let first = window.at(0);
            let held = table.lines[first].may_hold(item.id);
            if !held {
                table.prefetch_steps(window, &LIKELY);
            }
            held.then_some(first)
        });
        self.commit(items, &mut found, now);
        sought = self.look(items, sought, &mut found, now, |table, item, window| {
            let line = table.find_likely(item.id, window);
            if line.is_none() {
                table.prefetch_steps(window, &UNLIKELY);
            }
            line
        });
        self.commit(items, &mut found, now);
        for Sought { item, .. } in sought {
            let item = &mut items[item];
            item.charge = self.charge(item.id, item.limits, item.cost, now);
        }
    }

    /// Moves the items that `place` knows the line of from `sought` to `found`; returns the others.
    #[inline]
    fn look(
        &self,
        items: &[BatchItem<'_>],
        sought: SoughtItems,
        found: &mut FoundItems,
        now: MonotonicNs,
        place: impl Fn(&Self, &BatchItem<'_>, &Window) -> Option<usize>,
    ) -> SoughtItems {
        let mut rest = SoughtItems::new();
        for Sought { item, window } in sought {
            let wanted = &items[item];
            match place(self, wanted, &window) {
                Some(line) => {
                    let now_ticks = wanted.limits.clock().at(now);
                    let prepared = self.lines[line].prepare(wanted.id, wanted.limits, wanted.cost, now_ticks);
                    found.push(Found { item, line, prepared });
                }
                None => rest.push(Sought { item, window }),
            }
        }
        rest
    }

    fn commit(&self, items: &mut [BatchItem<'_>], found: &mut FoundItems, now: MonotonicNs) {
        for Found { item, line, prepared } in found.drain(..) {
            let item = &mut items[item];
            let done = prepared.filter(|_| self.absent(item.limits) == 0);
            item.charge = match done.and_then(|prepared| self.lines[line].commit(&prepared)) {
                Some(level) => {
                    self.mark_changed(line);
                    Charge { allowed: true, level, ..Charge::default() }
                }
                None => self.charge(item.id, item.limits, item.cost, now),
            };
        }
    }
}
