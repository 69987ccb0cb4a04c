//! Several charges decided together, so that their cache misses, and what the processor can do of one
//! beside another, overlap.
//!
//! A locked exchange holds up all loads after it. So the lines of a round are first asked for, then all
//! read, and only then exchanged one after another. What was read may be of different moments, as in a
//! charge alone: the exchange of the pair makes sure of it, and a thread that loses it charges as if alone.

use arrayvec::ArrayVec;

use super::search::Window;
use super::{BatchItem, BucketTable, Charge, Charger};
use crate::bucket::line::{Exchange, Prepared};
use crate::time::MonotonicNs;

/// Charges of one round: as many lines as a core can wait for at once, and few enough for the stack.
const ROUND: usize = 16;

/// Items of a round that have not been found yet, by their places in it.
type Sought = ArrayVec<u8, ROUND>;

/// An item whose bucket has been found, in the state it was in.
struct Found {
    item: u8,
    line: usize,
    /// What charges it, when it fits as it was.
    exchange: Option<Exchange>,
}

impl BucketTable {
    /// As [`Charger::charge_each`].
    pub fn charge_each(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        self.charger(None).charge_each(items, now);
    }
}

impl Charger<'_> {
    /// Charges each item on its own, as [`Charger::charge`] does, and says in it what became of it.
    ///
    /// Items of one bucket are charged in their order, unless another thread makes that bucket meanwhile.
    pub fn charge_each(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        if let [item] = items {
            item.charge = self.charge(item.id, item.limits, item.cost, now);
            return;
        }
        for round in items.chunks_mut(ROUND) {
            if self.table.tags_are_near {
                self.charge_near_round(round, now);
            } else {
                self.charge_round(round, now);
            }
        }
    }

    /// Where tags are near, they say at once in which line each bucket is.
    fn charge_near_round(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        let lines: ArrayVec<usize, ROUND> =
            items.iter().map(|item| self.table.likely_line(item.id)).collect();
        lines.iter().for_each(|line| self.table.lines.prefetch(*line));
        for (item, line) in items.iter_mut().zip(lines) {
            let now_ticks = item.limits.clock().at(now);
            let prepared = self.table.lines[line].prepare(item.id, item.limits, item.cost, now_ticks);
            let concluded = self.conclude(line, prepared, || self.table.absent(item.limits));
            self.settle(item, concluded, now);
        }
    }

    /// Most buckets are in their first line, and are charged while the tags of the rest arrive, which say which
    /// lines to ask for.
    fn charge_round(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        let windows: ArrayVec<Window, ROUND> =
            items.iter().map(|item| self.table.asked_for(item.id)).collect();
        let all: Sought = (0..items.len() as u8).collect();
        let elsewhere = self.charge_found(items, &all, now, |place, item| {
            let first = windows[place].at(0);
            let held = self.table.lines[first].may_hold(item.id);
            if !held {
                self.table.prefetch_tags(&windows[place]);
            }
            held.then_some(first)
        });
        for place in elsewhere.iter().map(|place| usize::from(*place)) {
            self.table
                .tagged(items[place].id, &windows[place])
                .for_each(|line| self.table.ask_for_line(line));
        }
        let untagged = self.charge_found(items, &elsewhere, now, |place, item| {
            self.table.find_tagged(item.id, &windows[place])
        });
        for place in untagged {
            let item = &mut items[usize::from(place)];
            item.charge = self.charge(item.id, item.limits, item.cost, now);
        }
    }

    /// Charges those items of `sought` that `line_of` knows the line of; returns the others.
    #[inline]
    fn charge_found(
        &self,
        items: &mut [BatchItem<'_>],
        sought: &Sought,
        now: MonotonicNs,
        line_of: impl Fn(usize, &BatchItem<'_>) -> Option<usize>,
    ) -> Sought {
        let mut found: ArrayVec<Found, ROUND> = ArrayVec::new();
        let mut rest = Sought::new();
        for place in sought {
            let item = &items[usize::from(*place)];
            match line_of(usize::from(*place), item) {
                Some(line) => {
                    let now_ticks = item.limits.clock().at(now);
                    // A denial may be another once the items before have been charged: it is made then.
                    let exchange =
                        match self.table.lines[line].prepare(item.id, item.limits, item.cost, now_ticks) {
                            Prepared::Fits(exchange) => Some(exchange),
                            Prepared::Denied { .. } | Prepared::Unclear => None,
                        };
                    found.push(Found { item: *place, line, exchange });
                }
                None => rest.push(*place),
            }
        }
        // By reference: what was written in words and is moved in wider pieces has to wait for the stores.
        for Found { item, line, exchange } in &found {
            let item = &mut items[usize::from(*item)];
            let charged =
                exchange.as_ref().and_then(|it| self.make(*line, it, || self.table.absent(item.limits)));
            self.settle(item, charged, now);
        }
        rest
    }

    /// Says in an item what became of it; what has not been `charged` yet is charged step by step.
    ///
    /// Two assignments: in one, the parts of the charge would go by way of the stack, and wider pieces of it would wait
    /// for the stores, and these for the exchange.
    #[inline]
    fn settle(&self, item: &mut BatchItem<'_>, charged: Option<Charge>, now: MonotonicNs) {
        match charged {
            Some(charge) => item.charge = charge,
            None => {
                let absent = self.table.absent(item.limits);
                item.charge = self.charge_step_by_step(item.id, item.limits, item.cost, absent, now);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bucket::hash::BucketId;
    use crate::bucket::table::OnTableFull;
    use crate::bucket::table_tests::{id, limit, table};

    #[test]
    fn buckets_whose_tags_are_not_set_yet_are_found_all_the_same() {
        let (table, limits) = (table(64, OnTableFull::Deny).with_far_tags(), limit(1, 100));
        let ids: Vec<BucketId> = (1..=40).map(id).collect();
        let charge = || {
            let mut items: Vec<_> = ids.iter().map(|id| BatchItem::new(*id, &limits, 1, true)).collect();
            table.charge_each(&mut items, MonotonicNs(1));
            assert!(items.iter().all(|item| item.charge.allowed && !item.charge.table_full));
        };
        charge();
        (0..64).for_each(|line| table.tags.set(line, BucketId::from_u128(u128::MAX)));
        charge();
        ids.iter().for_each(|id| assert_eq!(table.used(*id), Some(2)));
        assert_eq!(table.stats().inserts, 40);
    }
}
