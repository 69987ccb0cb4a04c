//! Several charges decided together, so that their cache misses, and what the processor can do of one
//! beside another, overlap.
//!
//! A locked exchange holds up all loads after it. So the lines of a round are first asked for, then all
//! read, and only then exchanged one after another. What was read may be of different moments, as in a
//! charge alone: the exchange of the pair makes sure of it, and a thread that loses it charges as if alone.

use std::ptr;

use arrayvec::ArrayVec;

use super::charger::charge_plainly;
use super::search::Window;
use super::{BatchItem, BucketTable, Charge, Charger};
use crate::bucket::gcra::{self, Verdict};
use crate::bucket::limits::Limits;
use crate::bucket::line::Prepared;
use crate::bucket::places::Places;
use crate::bucket::sync::Pair;
use crate::time::MonotonicNs;

/// Charges of one round: as many lines as a core can wait for at once, and few enough for the stack.
const ROUND: usize = 16;

/// What is known of the items of a round, by their places.
///
/// Word by word: what is written in words and moved in wider pieces waits for the stores.
struct Round {
    /// The line that the bucket is most likely in.
    lines: [usize; ROUND],
    /// The pair that was seen there.
    seen: [Pair; ROUND],
    /// What it is exchanged for.
    next: [Pair; ROUND],
}

/// What was made out by a look at the lines of some items.
struct Outlook {
    /// Those that are charged by an exchange of the pair that was seen.
    fits: Places,
    /// Those whose denial stands while the pair is the one that was seen.
    denied: Places,
}

impl Round {
    const fn new() -> Self {
        let none = Pair { tat: 0, count: 0 };
        Self { lines: [0; ROUND], seen: [none; ROUND], next: [none; ROUND] }
    }
}

/// The time in ticks of the limits that it was last asked of: those of most items of a round are the same.
struct Ticks<'l> {
    now: MonotonicNs,
    last: Option<&'l Limits>,
    ticks: u64,
}

impl<'l> Ticks<'l> {
    const fn new(now: MonotonicNs) -> Self {
        Self { now, last: None, ticks: 0 }
    }

    #[inline]
    fn of(&mut self, limits: &'l Limits) -> u64 {
        if !self.last.is_some_and(|last| ptr::eq(last, limits)) {
            (self.last, self.ticks) = (Some(limits), limits.clock().at(self.now));
        }
        self.ticks
    }
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
    // Out of line, as the other kind of round: together they have more to keep than there are registers.
    #[inline(never)]
    fn charge_near_round(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        // No list that knows its length: it would be copied to be gone through.
        let mut lines = [0; ROUND];
        for (line, item) in lines.iter_mut().zip(items.iter()) {
            *line = self.table.tagged_line(item.id, &self.table.window(item.id));
            self.table.ask_for_line(*line);
        }
        let (mut ticks, is_noting) = (Ticks::new(now), self.is_noting());
        for (item, line) in items.iter_mut().zip(&lines) {
            let absent = || self.table.absent(item.limits);
            let now_ticks = ticks.of(item.limits);
            // Two assignments: in one, the parts of the charge would go by way of the stack, and wider pieces of it
            // would wait for the stores, and these for the exchange.
            match charge_plainly(&self.table.lines[*line], item.id, item.limits, item.cost, absent, now_ticks)
            {
                Some(charge) => {
                    item.charge = charge;
                    if is_noting && charge.allowed {
                        self.note_charged(*line, item.limits, charge.level, item.cost);
                    }
                }
                None => self.charge_alone(item, now),
            }
        }
    }

    /// Most buckets are in their first line, and are charged while the lines that it hints at arrive for the others.
    #[inline(never)]
    fn charge_round(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) {
        let windows: ArrayVec<Window, ROUND> =
            items.iter().map(|item| self.table.asked_for(item.id)).collect();
        let (mut round, mut here) = (Round::new(), Places::default());
        for (place, (item, window)) in items.iter().zip(&windows).enumerate() {
            let (is_here, hints) = self.table.look_in_first(item.id, window);
            self.table.ask_for_hinted(window, hints);
            here.add_if(is_here, place);
            round.lines[place] = window.at(0);
        }
        self.charge_in(items, here, &mut round, now);
        let elsewhere = Places::first(items.len()).without(here);
        let mut hinted = Places::default();
        for place in elsewhere {
            let line = self.table.hinted_past_first(items[place].id, &windows[place]);
            hinted.add_if(line.is_some(), place);
            match line {
                Some(line) => round.lines[place] = line,
                None => self.table.prefetch_tags(&windows[place]),
            }
        }
        self.charge_in(items, hinted, &mut round, now);
        let untold = elsewhere.without(hinted);
        for place in untold {
            round.lines[place] = self.table.tagged_line(items[place].id, &windows[place]);
            self.table.ask_for_line(round.lines[place]);
        }
        self.charge_in(items, untold, &mut round, now);
    }

    /// Charges the items in some places.
    fn charge_in(&self, items: &mut [BatchItem<'_>], places: Places, round: &mut Round, now: MonotonicNs) {
        let Outlook { fits, denied } = self.look_at(items, places, round, now);
        let (mut charged, mut rest) = (fits, places);
        while let Some(place) = self.exchange_while_fitting(&mut rest, fits, round) {
            // Items of the same bucket before it may have been charged since.
            if !denied.has(place) || !self.table.lines[round.lines[place]].has(round.seen[place]) {
                charged.remove(place);
                self.charge_alone(&mut items[place], now);
            }
        }
        if self.is_noting() {
            for place in charged {
                let BatchItem { limits, cost, charge, .. } = &items[place];
                self.note_charged(round.lines[place], limits, charge.level, *cost);
            }
        }
    }

    /// Looks at all before any is charged, and says in each item what becomes of it if its line stays as it is.
    #[inline]
    fn look_at(
        &self,
        items: &mut [BatchItem<'_>],
        places: Places,
        round: &mut Round,
        now: MonotonicNs,
    ) -> Outlook {
        let (mut fits, mut denied) = (Places::default(), Places::default());
        let mut ticks = Ticks::new(now);
        for place in places {
            let item = &mut items[place];
            let now = ticks.of(item.limits);
            let line = &self.table.lines[round.lines[place]];
            let Some(Prepared { seen, verdict }) = line.prepare(item.id, item.limits, item.cost, now) else {
                continue;
            };
            round.seen[place] = seen;
            match verdict {
                Verdict::Allowed { tat } if self.table.absent(item.limits).is_none() => {
                    round.next[place].tat = tat;
                    round.next[place].count = seen.count + item.cost;
                    fits.add_if(true, place);
                    item.charge = Charge { allowed: true, level: tat - now, wait: 0, table_full: false };
                }
                // More is charged for absent peers: alone.
                Verdict::Allowed { .. } => {}
                Verdict::Denied { wait } => {
                    let level = gcra::level(seen.tat, now);
                    denied.add_if(true, place);
                    item.charge = Charge { allowed: false, level, wait, table_full: false };
                }
            }
        }
        Outlook { fits, denied }
    }

    /// Exchanges the pairs of the `rest`, up to one that does not fit or was changed meanwhile: its place.
    ///
    /// Nothing else, since all that follows an exchange waits for it.
    #[inline]
    fn exchange_while_fitting(&self, rest: &mut Places, fits: Places, round: &Round) -> Option<usize> {
        for place in rest {
            let line = &self.table.lines[round.lines[place]];
            if !fits.has(place) || !line.exchange(round.seen[place], round.next[place]) {
                return Some(place);
            }
        }
        None
    }

    /// Out of line: few come here.
    #[inline(never)]
    fn charge_alone(&self, item: &mut BatchItem<'_>, now: MonotonicNs) {
        let absent = self.table.absent(item.limits);
        item.charge = self.charge_step_by_step(item.id, item.limits, item.cost, absent, now);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bucket::absent::Absent;
    use crate::bucket::gcra::FIXED_BITS;
    use crate::bucket::hash::BucketId;
    use crate::bucket::table::OnTableFull;
    use crate::bucket::table_tests::{id, limit, table};

    #[test]
    fn each_charge_is_one_for_absent_peers_too() {
        let near = || table(64, OnTableFull::Deny).replicated(1);
        for table in [near(), near().with_far_tags()] {
            let limits = limit(1, 100);
            let charge = || {
                let mut items = [1, 1, 2].map(|number| BatchItem::new(id(number), &limits, 3, true));
                table.charge_each(&mut items, MonotonicNs(1));
            };
            charge();
            table.set_absent(limits.slot(), Absent::noted(1 << FIXED_BITS));
            charge();
            let level = |number| table.level(id(number), &limits, MonotonicNs(1)).unwrap();
            assert_eq!([1, 2].map(|number| limits.clock().tokens(level(number))), [6 + 2 * 6, 3 + 2 * 3]);
        }
    }

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
