//! Charges that are made all or none.

use super::{BatchItem, BucketTable, Charge, Charger, Line};
use crate::bucket::absent::Absent;
use crate::time::MonotonicNs;

impl Charger<'_> {
    /// Charges all items or none, and says which: `true` when every enforced item fitted.
    ///
    /// All are looked at first; when another thread takes the tokens in between, what was charged is
    /// given back. What absent peers use besides is charged last, as of one charge: it may be a debt.
    pub fn charge_all(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) -> bool {
        if !self.table.look_all(items, now) {
            return false;
        }
        for position in 0..items.len() {
            let item = &mut items[position];
            item.charge = self.charge_with(item.id, item.limits, item.cost, || Absent::NONE, now);
            if item.enforced && !item.charge.allowed {
                self.table.give_back(&mut items[..position], now);
                return false;
            }
        }
        (0..items.len()).for_each(|position| self.table.charge_for_absent(items, position, now));
        true
    }
}

impl BucketTable {
    /// As [`Charger::charge_all`].
    pub fn charge_all(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) -> bool {
        self.charger(None).charge_all(items, now)
    }

    /// Says of each item whether it would fit after those of the same bucket before it, and charges
    /// nothing; whether every enforced one would.
    pub fn look_all(&self, items: &mut [BatchItem<'_>], now: MonotonicNs) -> bool {
        for position in 0..items.len() {
            let (before, rest) = items.split_at_mut(position);
            rest[0].charge = self.would_fit(before, &rest[0], now);
        }
        items.iter().all(|item| item.charge.allowed || !item.enforced)
    }

    fn would_fit(&self, before: &[BatchItem<'_>], item: &BatchItem<'_>, now: MonotonicNs) -> Charge {
        let level = self.level(item.id, item.limits, now).unwrap_or(0);
        let charged_before = before.iter().filter(|other| other.id == item.id && other.would_charge());
        let ticks = |cost| item.limits.clock().ticks(cost);
        let wanted = charged_before.map(|other| ticks(other.cost)).fold(level, u64::saturating_add);
        let wanted = wanted.saturating_add(ticks(item.cost));
        let wait = if item.cost == 0 { 0 } else { wanted.saturating_sub(item.limits.burst_ticks()) };
        Charge { allowed: wait == 0, level, wait, table_full: false }
    }

    fn give_back(&self, charged: &mut [BatchItem<'_>], now: MonotonicNs) {
        for item in charged.iter_mut().filter(|item| item.has_charged()) {
            let (id, limits, cost) = (item.id, item.limits, item.cost);
            // A missing bucket needs nothing back: only one that is full again gives way.
            let _ = self.on_line(id, limits, now, |line| line.refund(id, limits, cost));
            item.charge.level = self.level(id, limits, now).unwrap_or(0);
        }
    }

    /// Charges besides an item what absent peers use meanwhile.
    fn charge_for_absent(&self, items: &mut [BatchItem<'_>], position: usize, now: MonotonicNs) {
        let (before, rest) = items.split_at_mut(position);
        let item = &mut rest[0];
        let absent = self.absent(item.limits);
        if absent.is_none() || !item.has_charged() {
            return;
        }
        let (id, limits, clock) = (item.id, item.limits, item.limits.clock());
        // Only the first of a bucket found what had drained: the others charge at the same moment.
        let is_first = !before.iter().any(|other| other.id == id && other.has_charged());
        let found = clock.to_fixed(item.charge.level.saturating_sub(clock.ticks(item.cost)));
        let (share, found) = (absent.fixed(item.cost), if is_first { found } else { u64::MAX });
        let charged = |line: &Line| line.charge_for_absent(id, limits, share, found, limits.clock().at(now));
        item.charge.level = self.on_line(id, limits, now, charged).unwrap_or(item.charge.level);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bucket::gcra::FIXED_BITS;
    use crate::bucket::limits::Limits;
    use crate::bucket::table::OnTableFull;
    use crate::bucket::table_tests::{id, limit, limit_in_slot, table};

    #[test]
    fn what_a_batch_gives_back_is_a_credit() {
        let (table, limits) = (table(64, OnTableFull::Deny), limit(1, 10));
        let mut items = [2, 4].map(|cost| BatchItem::new(id(1), &limits, cost, true));
        assert!(table.charge_all(&mut items, MonotonicNs(0)));
        table.give_back(&mut items, MonotonicNs(0));
        assert_eq!(table.level(id(1), &limits, MonotonicNs(0)), Some(0));
        // The counter does not grow until the credit is used up.
        assert_eq!(table.used(id(1)), Some(6));
        assert!(table.charge(id(1), &limits, 10, MonotonicNs(0)).allowed);
        assert_eq!(table.used(id(1)), Some(10));
    }

    /// A table whose only peer is absent, and is taken to use `share` times as much as this node.
    fn cut_off(share: u32) -> BucketTable {
        let table = table(64, OnTableFull::Deny).replicated(1);
        table.set_absent(0, Absent::noted(share << FIXED_BITS));
        table
    }

    /// Level and phantom of the first bucket, in whole tokens.
    fn owed(table: &BucketTable, limits: &Limits) -> (u64, u64) {
        let view = table.line(id(1)).and_then(|line| table.view(line));
        view.map_or((0, 0), |view| (limits.clock().tokens(view.tat), view.phantom.standing() >> FIXED_BITS))
    }

    #[test]
    fn what_passes_as_one_check_while_a_peer_is_absent_passes_as_several_of_a_batch() {
        let limits = limit(1, 10);
        for costs in [&[10][..], &[4, 6], &[1; 10]] {
            for share in [1, 3] {
                let table = cut_off(share);
                let mut items: Vec<_> =
                    costs.iter().map(|cost| BatchItem::new(id(1), &limits, *cost, true)).collect();
                assert!(table.charge_all(&mut items, MonotonicNs(0)), "{costs:?}");
                let for_absent = 10 * u64::from(share);
                assert_eq!(owed(&table, &limits), (10 + for_absent, for_absent), "{costs:?}");
                let level = limits.clock().ticks(10 + for_absent);
                assert_eq!(items.last().unwrap().charge.level, level, "{costs:?}");
            }
        }
    }

    #[test]
    fn a_batch_that_is_denied_while_a_peer_is_absent_charges_nothing() {
        let (table, limits) = (cut_off(1), limit(1, 10));
        assert!(table.charge(id(1), &limits, 2, MonotonicNs(0)).allowed);
        for _ in 0..3 {
            let mut items = [4, 4].map(|cost| BatchItem::new(id(1), &limits, cost, true));
            assert!(!table.charge_all(&mut items, MonotonicNs(0)));
            assert_eq!(items[1].charge.wait, limits.clock().ticks(2));
            assert_eq!(owed(&table, &limits), (4, 2));
        }
        let mut items = [4, 4].map(|cost| BatchItem::new(id(1), &limits, cost, true));
        assert!(table.charge_all(&mut items, MonotonicNs(2_000_000_000)), "as it was told");
    }

    #[test]
    fn what_an_idle_bucket_once_owed_for_an_absent_peer_is_not_given_back() {
        let (table, limits) = (cut_off(1), limit(1, 10));
        table.slots.store(Arc::new(vec![limits.clone()]));
        assert!(table.charge(id(1), &limits, 4, MonotonicNs(0)).allowed);
        let later = MonotonicNs(100_000_000_000);
        let mut items = [3, 3].map(|cost| BatchItem::new(id(1), &limits, cost, true));
        assert!(table.charge_all(&mut items, later));
        table.return_phantom(table.line(id(1)).unwrap(), later);
        assert_eq!(table.level(id(1), &limits, later), Some(limits.clock().ticks(6)));
    }

    #[test]
    fn what_a_batch_gives_back_after_a_reload_is_in_the_ticks_of_then() {
        let (fast, slow) = (limit_in_slot(0, 10_000_000, 10), limit_in_slot(1, 1, 10));
        let table = table(64, OnTableFull::Deny);
        table.slots.store(Arc::new(vec![fast.clone(), slow.clone()]));
        let mut items = [4, 3].map(|cost| BatchItem::new(id(1), &slow, cost, true));
        assert!(table.charge_all(&mut items, MonotonicNs(0)));
        assert_eq!(table.level(id(1), &fast, MonotonicNs(0)), Some(fast.clock().ticks(7)));
        table.give_back(&mut items[..1], MonotonicNs(0));
        assert_eq!(table.level(id(1), &slow, MonotonicNs(0)), Some(slow.clock().ticks(3)));
    }
}
