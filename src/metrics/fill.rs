//! How full buckets are, by policy: a walk over all lines in slices, off the data path.

use crate::bucket::gcra;
use crate::bucket::policy::{Limits, MAX_POLICIES, PolicySet};
use crate::bucket::table::{BucketTable, Phantom};
use crate::time::MonotonicNs;

/// Upper bounds of the buckets: parts of the burst that are available.
pub(super) const BOUNDS: [f64; 13] = [0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// The part of the burst that is available, counted over the live buckets of each policy.
#[derive(Clone, Debug)]
pub struct FillRatios {
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// How many are at most each bound, and above the one before.
    counts: [u64; BOUNDS.len()],
    pub(super) sum: f64,
    /// How many are not full: no other bucket can have their lines.
    pub(super) in_use: u64,
    /// Owed by buckets above their burst.
    pub(super) debt_tokens: f64,
    /// Charged for peers that could not be heard.
    pub(super) phantom_tokens: f64,
}

impl Row {
    pub(super) fn cumulative(&self) -> [u64; BOUNDS.len()] {
        let mut total = 0;
        self.counts.map(|count| {
            total += count;
            total
        })
    }

    fn add(&mut self, ratio: f64) {
        // All are compared: which is the first no processor foretells.
        self.counts[BOUNDS.iter().filter(|bound| **bound < ratio).count()] += 1;
        self.sum += ratio;
    }

    fn add_bucket(&mut self, level: u64, phantom: Phantom, limits: &Limits) {
        if level == 0 {
            return self.add(1.0);
        }
        let burst = limits.burst_ticks();
        self.add(burst.saturating_sub(level) as f64 / burst as f64);
        self.in_use += 1;
        if level > burst {
            self.debt_tokens += debt(level, limits);
        }
        if phantom != Phantom::default() {
            self.phantom_tokens += phantom.standing_tokens(limits.clock().to_fixed(level));
        }
    }
}

impl Default for FillRatios {
    fn default() -> Self {
        Self { rows: vec![Row::default(); MAX_POLICIES] }
    }
}

impl FillRatios {
    /// The row of the policy with this index.
    pub(super) fn row(&self, policy_index: u16) -> Option<&Row> {
        self.rows.get(usize::from(policy_index))
    }

    fn clear(&mut self) {
        self.rows.fill(Row::default());
    }
}

/// Tokens of a bucket that can be spent now, not whole ones only; zero for one in debt.
pub(super) fn available(level_ticks: u64, limits: &Limits) -> f64 {
    let ticks = limits.burst_ticks().saturating_sub(level_ticks);
    ticks as f64 / limits.clock().ticks(1) as f64
}

/// Tokens that a bucket owes beyond its burst.
fn debt(level_ticks: u64, limits: &Limits) -> f64 {
    let ticks = level_ticks.saturating_sub(limits.burst_ticks());
    ticks as f64 / limits.clock().ticks(1) as f64
}

/// What is the same for all buckets in a slot.
#[derive(Clone, Copy)]
struct OfSlot<'p> {
    slot: u16,
    limits: &'p Limits,
    row: usize,
    now_ticks: u64,
}

impl<'p> OfSlot<'p> {
    fn new(policies: &'p PolicySet, slot: u16, now: MonotonicNs) -> Option<Self> {
        let (limits, owner) = (policies.slot(slot)?, policies.owner(slot)?);
        Some(Self { slot, limits, row: usize::from(owner.index), now_ticks: limits.clock().at(now) })
    }
}

/// A walk over the table, and what the last whole one found.
#[derive(Debug, Default)]
pub struct FillScan {
    next_line: usize,
    counting: FillRatios,
    found: FillRatios,
}

impl FillScan {
    /// Looks at up to `lines` more; whether that ended a walk.
    pub fn advance(
        &mut self,
        table: &BucketTable,
        policies: &PolicySet,
        lines: usize,
        now: MonotonicNs,
    ) -> bool {
        let end = self.next_line.saturating_add(lines).min(table.len_lines());
        let rows = &mut self.counting.rows;
        let mut of_slot = None;
        table.visit(self.next_line..end, |bucket| {
            // Most are in the same slot as the one before.
            let known = of_slot.filter(|slot: &OfSlot<'_>| slot.slot == bucket.slot);
            of_slot = known.or_else(|| OfSlot::new(policies, bucket.slot, now));
            let Some(OfSlot { limits, row, now_ticks, .. }) = of_slot else { return };
            if let Some(row) = rows.get_mut(row) {
                row.add_bucket(gcra::level(bucket.tat, now_ticks), bucket.phantom, limits);
            }
        });
        self.next_line = end;
        let ended = end == table.len_lines();
        if ended {
            self.next_line = 0;
            std::mem::swap(&mut self.counting, &mut self.found);
            self.counting.clear();
        }
        ended
    }

    /// What the last whole walk found.
    #[must_use]
    pub const fn found(&self) -> &FillRatios {
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::gcra::{FIXED_BITS, Rate};
    use crate::bucket::hash::KeyHasher;
    use crate::bucket::policy::{LimitSpec, PolicySpec};
    use crate::bucket::table::{OnTableFull, TableConfig};

    fn policies() -> PolicySet {
        let rate = Rate::new(1, Rate::DAY_NS).unwrap();
        let spec = |name: &str, burst| PolicySpec::new(name, LimitSpec { rate, burst });
        PolicySet::new(&[spec("a", 100), spec("b", 10)], &KeyHasher::new([7; 16]), MonotonicNs(0)).unwrap()
    }

    #[test]
    fn every_live_bucket_is_counted_once_in_its_policy_at_its_level() {
        let (policies, now) = (policies(), MonotonicNs(1_000));
        let table = BucketTable::new(TableConfig { lines: 4096, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let a = policies.find(b"a").unwrap();
        for spent in 1..=100_u64 {
            let id = policies.bucket_id(a, &spent.to_be_bytes());
            assert!(table.charge(id, a.default_limits(), spent, now).allowed);
        }
        let b = policies.find(b"b").unwrap();
        for spent in [2_u64, 10] {
            let id = policies.bucket_id(b, &spent.to_be_bytes());
            assert!(table.charge(id, b.default_limits(), spent, now).allowed);
        }
        let mut scan = FillScan::default();
        let mut slices = 1;
        while !scan.advance(&table, &policies, 1000, now) {
            slices += 1;
        }
        assert_eq!(slices, 5);
        let row = scan.found().row(a.index()).unwrap();
        // 0 to 99 tokens of 100 are left: one is empty, ten have at most 9, and so on.
        assert_eq!(row.cumulative(), [1, 2, 6, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]);
        assert!((row.sum - 49.5).abs() < 1e-6, "{}", row.sum);
        assert_eq!(row.in_use, 100);
        let row = scan.found().row(b.index()).unwrap();
        assert_eq!(row.cumulative(), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_bucket_that_is_full_again_is_not_in_use() {
        let policies = policies();
        let table = BucketTable::new(TableConfig { lines: 64, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let a = policies.find(b"a").unwrap();
        let id = policies.bucket_id(a, b"k");
        table.charge(id, a.default_limits(), 1, MonotonicNs(0));
        // One token comes back in a day.
        for (now, in_use) in [(MonotonicNs(Rate::DAY_NS / 2), 1), (MonotonicNs(Rate::DAY_NS + 1), 0)] {
            let mut scan = FillScan::default();
            assert!(scan.advance(&table, &policies, 64, now));
            assert_eq!(scan.found().row(a.index()).unwrap().in_use, in_use);
        }
    }

    #[test]
    fn debt_and_what_was_charged_for_absent_peers_are_summed_by_policy() {
        let (policies, now) = (policies(), MonotonicNs(1_000));
        let table = BucketTable::new(TableConfig { lines: 64, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let a = policies.find(b"a").unwrap();
        let limits = a.default_limits();
        let id = policies.bucket_id(a, b"k");
        assert!(table.restore(id, limits, limits.clock().ticks(103), now));
        table.note_phantom(table.line(id).unwrap(), 5 << FIXED_BITS, 0);
        let mut scan = FillScan::default();
        assert!(scan.advance(&table, &policies, 64, now));
        let row = scan.found().row(a.index()).unwrap();
        assert!((row.debt_tokens - 3.0).abs() < 1e-6 && (row.phantom_tokens - 5.0).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn a_walk_that_is_not_whole_is_not_shown() {
        let (policies, now) = (policies(), MonotonicNs(0));
        let table = BucketTable::new(TableConfig { lines: 64, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let a = policies.find(b"a").unwrap();
        table.charge(policies.bucket_id(a, b"k"), a.default_limits(), 1, now);
        let mut scan = FillScan::default();
        assert!(!scan.advance(&table, &policies, 63, now));
        assert_eq!(scan.found().row(a.index()).unwrap().cumulative()[12], 0);
        assert!(scan.advance(&table, &policies, 63, now));
        assert_eq!(scan.found().row(a.index()).unwrap().cumulative()[12], 1);
    }
}
