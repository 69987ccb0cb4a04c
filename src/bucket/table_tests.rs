//! Promises of the table, under one thread with injected time and under several.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::changes::drained;
use super::hash::{BucketId, KeyHasher};
use super::limits::Limits;
use super::policy::PolicySet;
use super::spec::{LimitSpec, PolicySpec};
use super::table::{BatchItem, BucketTable, Charge, OnTableFull, TableConfig};
use crate::time::{Clock as _, ManualClock, MonotonicNs};

const SECOND: u64 = 1_000_000_000;

pub(super) fn limit(tokens: u64, burst: u64) -> Limits {
    limit_in_slot(0, tokens, burst)
}

pub(super) fn limit_in_slot(slot: u16, tokens: u64, burst: u64) -> Limits {
    Limits::new(slot, LimitSpec::per_second(tokens, burst).unwrap(), MonotonicNs(0))
}

fn set(tokens: u64, burst: u64) -> PolicySet {
    PolicySet::new(&[spec(tokens, burst)], &KeyHasher::new([3; 16]), MonotonicNs(0)).unwrap()
}

fn spec(tokens: u64, burst: u64) -> PolicySpec {
    PolicySpec::new("p", LimitSpec::per_second(tokens, burst).unwrap())
}

pub(super) fn table(lines: usize, on_full: OnTableFull) -> BucketTable {
    BucketTable::new(TableConfig { lines, on_full }).unwrap()
}

pub(super) fn id(n: u128) -> BucketId {
    BucketId::from_u128(n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).rotate_left(64) ^ n)
}

#[test]
fn a_table_of_a_bad_size_is_refused() {
    for lines in [0, 1, 15, 24] {
        assert!(BucketTable::new(TableConfig { lines, on_full: OnTableFull::Allow }).is_err());
    }
}

fn hammer(threads: usize, keys: u128, tokens: u64, burst: u64) {
    let (table, limits) = (table(1 << 18, OnTableFull::Deny), limit(tokens, burst));
    let (clock, rounds) = (ManualClock::default(), 5);
    let admitted: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
    for round in 0..rounds {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (table, limits, admitted, clock) = (&table, &limits, &admitted, &clock);
                scope.spawn(move || {
                    let tries = (burst + tokens) as usize * 2 / threads + 1;
                    for try_ in 0..tries {
                        for key in 0..admitted.len() {
                            let key = (key + thread * 31 + try_) % admitted.len();
                            if table.charge(id(key as u128), limits, 1, clock.now()).allowed {
                                admitted[key].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        let budget = burst + tokens * round;
        for (key, count) in admitted.iter().enumerate() {
            assert_eq!(count.load(Ordering::Relaxed), budget, "key {key}, round {round}");
            assert_eq!(table.used(id(key as u128)), Some(budget));
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(table.stats().full, 0);
}

#[test]
fn two_threads_on_one_key_admit_the_budget_to_the_token() {
    hammer(2, 1, 20_000, 30_000);
}

#[test]
fn eight_threads_on_one_key_admit_the_budget_to_the_token() {
    hammer(8, 1, 20_000, 30_000);
}

#[test]
fn two_and_eight_threads_on_a_hundred_thousand_keys_admit_each_budget_to_the_token() {
    hammer(2, 100_000, 2, 3);
    hammer(8, 100_000, 2, 3);
}

#[test]
fn three_quarters_of_the_lines_find_room_for_all_but_one_key_in_a_thousand() {
    let (table, limits) = (table(1 << 16, OnTableFull::Deny), limit(1, 10));
    let keys = (1_u128 << 16) * 3 / 4;
    let refused = (0..keys).filter(|k| table.charge(id(*k), &limits, 1, MonotonicNs(0)).table_full).count();
    assert!(refused < keys as usize / 1000, "{refused} of {keys}");
    let found = (0..keys).filter(|k| table.level(id(*k), &limits, MonotonicNs(0)).is_some()).count();
    assert_eq!(found + refused, keys as usize);
}

#[test]
fn a_full_table_takes_over_buckets_that_are_full_again_and_no_others() {
    let policies = set(1, 10);
    let limits = policies.find(b"p").unwrap().default_limits();
    let table = table(64, OnTableFull::Deny);
    table.publish_limits(&policies);
    let kept: Vec<_> =
        (0..32).map(id).filter(|k| table.charge(*k, limits, 10, MonotonicNs(0)).allowed).collect();
    for k in 1000..10_000 {
        table.charge(id(k), limits, 1, MonotonicNs(0));
    }
    assert!(table.stats().full > 0);
    for k in &kept {
        assert_eq!(table.level(*k, limits, MonotonicNs(0)), Some(limits.clock().ticks(10)));
    }
    let later = MonotonicNs(2 * SECOND);
    let refused = (20_000..20_030).filter(|k| table.charge(id(*k), limits, 1, later).table_full).count();
    assert!(refused < 10 && table.stats().evictions >= 20, "{refused} {:?}", table.stats());
    for k in &kept {
        assert!(!table.charge(*k, limits, 10, later).allowed);
    }
}

#[test]
fn what_a_full_table_decides_is_the_operators_choice() {
    for (on_full, allowed) in [(OnTableFull::Allow, true), (OnTableFull::Deny, false)] {
        let (table, limits) = (table(16, on_full), limit(1, 10));
        let charges: Vec<_> = (0..100).map(|k| table.charge(id(k), &limits, 1, MonotonicNs(0))).collect();
        assert!(charges.iter().filter(|c| c.table_full).all(|c| c.allowed == allowed));
        assert!(charges.iter().filter(|c| c.table_full).count() >= 84);
    }
}

#[test]
fn keys_that_come_and_go_from_several_threads_are_never_admitted_twice() {
    let policies = set(1000, 1);
    let limits = policies.find(b"p").unwrap().default_limits();
    for seed in 0..200_u128 {
        let table = table(16, OnTableFull::Deny);
        table.publish_limits(&policies);
        for step in 0..20_u64 {
            let now = MonotonicNs(step * SECOND);
            let admitted: Arc<AtomicU64> = Arc::default();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for k in 0..4 {
                            let key = id(seed * 1000 + u128::from(step) * 4 + k);
                            let charge = table.charge(key, limits, 1, now);
                            admitted.fetch_add(u64::from(charge.allowed), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(admitted.load(Ordering::Relaxed), 4, "seed {seed} step {step}");
        }
    }
}

#[test]
fn a_level_is_kept_when_the_rate_changes_a_little_and_a_lot() {
    for tokens in [200, 10_000_000] {
        let policies = set(100, 1000);
        let table = table(64, OnTableFull::Deny);
        table.publish_limits(&policies);
        let limits = policies.find(b"p").unwrap().default_limits();
        assert!(table.charge(id(1), limits, 600, MonotonicNs(0)).allowed);
        let now = MonotonicNs(SECOND);
        let next = policies.reload(&[spec(tokens, 1000)], now).unwrap();
        table.publish_limits(&next);
        let limits = next.find(b"p").unwrap().default_limits();
        let level = table.level(id(1), limits, now).unwrap();
        assert_eq!(limits.clock().tokens(level), 500, "{tokens}");
    }
}

#[test]
fn a_batch_charges_all_or_nothing() {
    let (table, a, b) = (table(64, OnTableFull::Deny), limit_in_slot(0, 1, 10), limit_in_slot(1, 1, 2));
    let now = MonotonicNs(0);
    let batch = |cost_b| {
        let mut items = [BatchItem::new(id(1), &a, 3, true), BatchItem::new(id(2), &b, cost_b, true)];
        let allowed = table.charge_all(&mut items, now);
        (allowed, items.map(|i| i.charge))
    };
    assert!(batch(2).0);
    let (allowed, charges) = batch(1);
    assert!(!allowed && charges[0].allowed && !charges[1].allowed);
    assert_eq!(table.level(id(1), &a, now), Some(a.clock().ticks(3)));
    assert_eq!(table.used(id(1)), Some(3));
}

#[test]
fn a_shadow_item_never_holds_a_batch_up() {
    let (table, limits) = (table(64, OnTableFull::Deny), limit(1, 10));
    table.charge(id(2), &limits, 10, MonotonicNs(0));
    let mut items = [BatchItem::new(id(2), &limits, 1, false), BatchItem::new(id(1), &limits, 1, true)];
    assert!(table.charge_all(&mut items, MonotonicNs(0)));
    assert!(!items[0].charge.allowed && items[1].charge.allowed);
}

#[test]
fn charges_of_one_bucket_that_together_are_too_much_wait_for_each_other() {
    let (table, limits) = (table(64, OnTableFull::Deny), limit(1, 10));
    assert!(table.charge(id(1), &limits, 4, MonotonicNs(0)).allowed);
    let mut items = [(1, 5), (2, 1), (1, 4)].map(|(key, cost)| BatchItem::new(id(key), &limits, cost, true));
    assert!(!table.charge_all(&mut items, MonotonicNs(0)));
    let told = items.each_ref().map(|item| (item.charge.allowed, item.charge.wait));
    assert_eq!(told, [(true, 0), (true, 0), (false, limits.clock().ticks(3))]);
    assert_eq!(items[2].charge.level, limits.clock().ticks(4));
    assert!(table.charge_all(&mut items, MonotonicNs(3 * SECOND)));
    assert_eq!(table.used(id(1)), Some(13));
}

#[test]
fn a_shadow_charge_that_does_not_fit_does_not_count_before_others_of_its_bucket() {
    let (table, limits) = (table(64, OnTableFull::Deny), limit(1, 10));
    let mut items = [8, 8, 2].map(|cost| BatchItem::new(id(1), &limits, cost, false));
    assert!(table.look_all(&mut items, MonotonicNs(0)));
    assert_eq!(items.each_ref().map(|item| item.charge.allowed), [true, false, true]);
}

/// The plain bucket: exact rational arithmetic, one integer, no ticks.
struct Reference {
    /// Tokens times nanoseconds per `tokens`.
    level: u128,
    at: u64,
}

impl Reference {
    fn charge(&mut self, tokens: u64, burst: u64, cost: u64, now: u64) -> bool {
        let drained = u128::from(now - self.at) * u128::from(tokens);
        self.level = self.level.saturating_sub(drained);
        self.at = now;
        let wanted = self.level + u128::from(cost) * u128::from(SECOND);
        let allowed = cost == 0 || wanted <= u128::from(burst) * u128::from(SECOND);
        if allowed {
            self.level = wanted;
        }
        allowed
    }
}

proptest! {
    #[test]
    fn the_table_decides_as_plain_buckets_do(
        tokens in 1_u64..1_000_000,
        burst in 1_u64..1000,
        steps in prop::collection::vec((0_u128..20, 0_u64..1000, 0_u64..2000), 1..300),
    ) {
        let (table, limits) = (table(256, OnTableFull::Deny), limit(tokens, burst));
        let mut plain: HashMap<u128, Reference> = HashMap::new();
        let mut admitted: HashMap<u128, u64> = HashMap::new();
        let mut now = 0;
        for (key, cost, wait_us) in steps {
            now += wait_us * 1000;
            let cost = cost % (burst + 1);
            let bucket = plain.entry(key).or_insert(Reference { level: 0, at: 0 });
            // Where the two differ is within two nanoseconds of the exact moment.
            let [mut sooner, mut later] = [(); 2].map(|()| Reference { level: bucket.level, at: bucket.at });
            let sooner = sooner.charge(tokens, burst, cost, now.max(bucket.at + 2) - 2);
            let later = later.charge(tokens, burst, cost, now + 2);
            let charge = table.charge(id(key), &limits, cost, MonotonicNs(now));
            prop_assert!(charge.allowed == sooner || charge.allowed == later);
            bucket.charge(tokens, burst, if charge.allowed { cost } else { 0 }, now);
            *admitted.entry(key).or_default() += if charge.allowed { cost } else { 0 };
        }
        for (key, total) in admitted {
            prop_assert_eq!(table.used(id(key)).unwrap_or(0), total);
        }
    }
}

/// A charge as a test writes it: key, cost, whether in the limits of another slot.
type Wanted = (u128, u64, bool);

proptest! {
    #[test]
    fn charges_made_together_are_those_made_one_after_another(
        rounds in prop::collection::vec(
            (prop::collection::vec((0_u128..40, 0_u64..6, prop::bool::weighted(0.1)), 1..40), 0_u64..3),
            1..20,
        ),
        far: bool,
    ) {
        // So few lines that buckets are everywhere in their windows, and some find no room.
        let together = table(32, OnTableFull::Deny);
        let together = if far { together.with_far_tags() } else { together };
        let one_by_one = table(32, OnTableFull::Deny);
        let (limits, other) = (limit_in_slot(0, 2, 10), limit_in_slot(1, 2, 5));
        let mut now = MonotonicNs(SECOND);
        for (wanted, wait_s) in rounds {
            now.0 += wait_s * SECOND;
            let of = |(key, cost, in_other): &Wanted| {
                (id(*key), if *in_other { &other } else { &limits }, (*cost).min(5))
            };
            let mut items: Vec<BatchItem<'_>> = wanted.iter().map(of)
                .map(|(id, limits, cost)| BatchItem::new(id, limits, cost, true)).collect();
            together.charge_each(&mut items, now);
            // Buckets that are to be made come last in a round, and so may find another line.
            let mut expected: HashMap<u128, Vec<Charge>> = HashMap::new();
            let mut got = expected.clone();
            for (item, wanted) in items.iter().zip(&wanted) {
                let (id, limits, cost) = of(wanted);
                expected.entry(wanted.0).or_default().push(one_by_one.charge(id, limits, cost, now));
                got.entry(wanted.0).or_default().push(item.charge);
            }
            if together.stats().full + one_by_one.stats().full == 0 {
                prop_assert_eq!(expected, got);
            } else {
                prop_assert!(got.values().flatten().all(|charge| charge.level <= limits.burst_ticks()));
            }
        }
    }
}

#[test]
fn threads_that_charge_together_admit_the_budget_to_the_token() {
    let (table, limits) = (table(64, OnTableFull::Deny).with_far_tags(), limit(1, 50_000));
    let admitted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut admitted = 0;
                    for _ in 0..2000 {
                        let mut items = [(); 16].map(|()| BatchItem::new(id(1), &limits, 1, true));
                        table.charge_each(&mut items, MonotonicNs(0));
                        admitted += items.iter().filter(|item| item.charge.allowed).count() as u64;
                    }
                    admitted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((admitted, table.used(id(1))), (50_000, Some(50_000)));
}

#[test]
fn identities_spread_over_the_table() {
    let policies = set(1, 1);
    let table = table(1 << 12, OnTableFull::Deny);
    let policy = policies.find(b"p").unwrap();
    for key in 0..3000_u32 {
        let bucket = policies.bucket_id(policy, &key.to_le_bytes());
        assert!(!table.charge(bucket, policy.default_limits(), 1, MonotonicNs(0)).table_full);
    }
}

#[test]
fn a_bucket_whose_level_is_forgotten_is_full_and_its_counter_stays() {
    let (table, limits) = (table(16, OnTableFull::Deny), limit(1, 10));
    let now = MonotonicNs(SECOND);
    assert!(!table.forget_level(id(1)), "a bucket that is not there has no level");
    assert!(table.charge(id(1), &limits, 10, now).allowed && !table.charge(id(1), &limits, 1, now).allowed);
    table.charge(id(2), &limits, 4, now);
    assert!(table.forget_level(id(1)));
    assert_eq!((table.level(id(1), &limits, now), table.used(id(1))), (Some(0), Some(10)));
    assert!(table.charge(id(1), &limits, 10, now).allowed && !table.charge(id(1), &limits, 1, now).allowed);
    assert_eq!(table.used(id(1)), Some(20));
    assert_eq!(table.used(id(2)), Some(4), "another bucket is touched");
}

#[test]
fn what_a_thread_changes_is_told_whether_its_log_has_room_or_not() {
    let table = || table(64, OnTableFull::Deny).replicated(1);
    changes_are_told(table());
    changes_are_told(table().with_far_tags());
}

fn changes_are_told(mut table: BucketTable) {
    let limits = limit(1, 1 << 20);
    let log = table.take_logs(1).pop().unwrap();
    let charger = table.charger(Some(&log));
    let drain = || BTreeMap::from_iter(drained(|changed| table.drain_changes(changed)));
    let line = |n| table.line(id(n)).unwrap() as u32;
    let mut charged = 0;
    for charges in [1, 100_000] {
        for _ in 0..charges {
            assert!(charger.charge(id(1), &limits, 1, MonotonicNs(0)).allowed);
        }
        let mut items =
            [BatchItem::new(id(2), &limits, 1, true), BatchItem::new(id(3), &limits, 1 << 18, true)];
        charger.charge_each(&mut items, MonotonicNs(0));
        let mut items = [BatchItem::new(id(4), &limits, 1, true)];
        assert!(charger.charge_all(&mut items, MonotonicNs(0)));
        assert!(table.charge(id(5), &limits, 600_000 / charges, MonotonicNs(0)).allowed);
        let mut expected: BTreeMap<u32, bool> = (1..=5).map(|n| (line(n), false)).collect();
        expected.insert(line(5), true);
        assert_eq!(drain(), expected, "{charges} charges of one bucket");
        assert!(drain().is_empty());
        charged += charges + 1 + (1 << 18) + 1 + 600_000 / charges;
        assert_eq!(table.charged(limits.slot()), charged);
    }
}
