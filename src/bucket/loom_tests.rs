//! Every interleaving of the races a bucket can be in, by the model checker loom.
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#![allow(clippy::unwrap_used)]

use loom::sync::Arc;
use loom::thread;

use super::absent::Absent;
use super::change_log::change_log;
use super::changes::{Change, ChangeMap};
use super::gcra::FIXED_BITS;
use super::hash::{BucketId, KeyHasher};
use super::policy::PolicySet;
use super::spec::{LimitSpec, PolicySpec};
use super::sync::{AtomicU64, Ordering};
use super::table::{BatchItem, BucketTable, OnTableFull, TableConfig};
use crate::time::MonotonicNs;

const SECOND: u64 = 1_000_000_000;

struct World {
    table: BucketTable,
    policies: PolicySet,
}

impl World {
    /// A table of two groups of two lines.
    fn new(tokens: u64, burst: u64) -> Arc<Self> {
        Self::of(tokens, burst, |table| table)
    }

    /// The same, while a peer cannot be heard that is taken to use as much as this node.
    fn cut_off(tokens: u64, burst: u64) -> Arc<Self> {
        let world = Self::of(tokens, burst, |table| table.replicated(1));
        world.table.set_absent(0, Absent::noted(1 << FIXED_BITS));
        world
    }

    fn of(tokens: u64, burst: u64, how: impl Fn(BucketTable) -> BucketTable) -> Arc<Self> {
        let spec = PolicySpec::new("p", LimitSpec::per_second(tokens, burst).unwrap());
        let policies = PolicySet::new(&[spec], &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap();
        let table = how(BucketTable::new(TableConfig { lines: 4, on_full: OnTableFull::Deny }).unwrap());
        table.publish_limits(&policies);
        Arc::new(Self { table, policies })
    }

    fn charge(&self, key: u128, cost: u64, now_s: u64) -> u64 {
        let limits = self.policies.find(b"p").unwrap().default_limits();
        let charge = self.table.charge(BucketId::from_u128(key), limits, cost, MonotonicNs(now_s * SECOND));
        if charge.allowed { cost } else { 0 }
    }

    fn used(&self, key: u128) -> u64 {
        self.table.used(BucketId::from_u128(key)).unwrap_or(0)
    }
}

/// Bounded preemption: three context switches find all such races known (Musuvathi, Qadeer 2007).
fn explore(scenario: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    // A look over a window is a few dozen loads, each of which the model counts.
    model.max_branches = 20_000;
    model.check(scenario);
}

#[test]
fn two_charges_of_one_bucket_are_both_counted() {
    explore(|| {
        let world = World::new(1, 3);
        assert_eq!(world.charge(8, 1, 0), 1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(8, 1, 0))
        };
        let mine = world.charge(8, 2, 0);
        let sum = 1 + mine + other.join().unwrap();
        assert!(sum == 2 || sum == 3, "admitted {sum}");
        assert_eq!(world.used(8), sum);
    });
}

#[test]
fn two_threads_that_make_one_bucket_share_its_burst() {
    explore(|| {
        let world = World::new(1, 1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(8, 1, 0))
        };
        let sum = world.charge(8, 1, 0) + other.join().unwrap();
        assert_eq!(sum, 1);
        assert_eq!(world.used(8), 1);
    });
}

#[test]
fn a_charge_never_lands_on_the_bucket_that_replaced_its_own() {
    explore(|| {
        let world = World::new(1, 1);
        // All four lines are taken; at second 10 each is full again and may be taken over.
        for key in [0, 1, 2, 3, 4, 5] {
            world.charge(key, 1, 0);
        }
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(100, 1, 10))
        };
        let mine = world.charge(1, 1, 10);
        let theirs = other.join().unwrap();
        assert!(mine == 1 && theirs == 1, "{mine} {theirs}");
        // Whoever is there now has been charged by its own checks only.
        assert!(world.used(100) <= 1);
        assert_eq!(world.charge(100, 1, 10), 0);
    });
}

/// Charges two buckets together while another thread charges the second; whether both were, and the level of the first.
fn race_for_the_second(world: &Arc<World>) -> (bool, u64) {
    world.charge(0, 0, 0);
    let other = {
        let world = Arc::clone(world);
        thread::spawn(move || world.charge(9, 1, 0))
    };
    let limits = world.policies.find(b"p").unwrap().default_limits();
    let mut items = [8, 9].map(|key| BatchItem::new(BucketId::from_u128(key), limits, 1, true));
    let allowed = world.table.charge_all(&mut items, MonotonicNs(0));
    let theirs = other.join().unwrap();
    assert_eq!(u64::from(allowed) + theirs, 1);
    let level = world.table.level(BucketId::from_u128(8), limits, MonotonicNs(0)).unwrap_or(0);
    (allowed, limits.clock().tokens(level))
}

#[test]
fn a_batch_that_loses_a_race_gives_back_what_it_took() {
    explore(|| {
        let (allowed, level) = race_for_the_second(&World::new(1, 1));
        assert_eq!(level, u64::from(allowed));
    });
}

#[test]
fn a_batch_that_loses_a_race_charges_nothing_for_an_absent_peer() {
    explore(|| {
        let (allowed, level) = race_for_the_second(&World::cut_off(1, 1));
        assert_eq!(level, 2 * u64::from(allowed));
    });
}

#[test]
fn charges_made_together_lose_none_to_another_thread() {
    explore(|| {
        let world = World::new(1, 2);
        assert_eq!(world.charge(8, 1, 0), 1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(8, 1, 0))
        };
        let limits = world.policies.find(b"p").unwrap().default_limits();
        let mut items = [8, 8].map(|key| BatchItem::new(BucketId::from_u128(key), limits, 1, true));
        world.table.charge_each(&mut items, MonotonicNs(0));
        let mine = items.iter().filter(|item| item.charge.allowed).count() as u64;
        assert_eq!(1 + mine + other.join().unwrap(), 2);
        assert_eq!(world.used(8), 2);
    });
}

#[test]
fn charges_made_together_never_land_on_the_bucket_that_replaced_their_own() {
    explore(|| {
        let world = World::new(1, 1);
        for key in [0, 1, 2, 3, 4, 5] {
            world.charge(key, 1, 0);
        }
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(100, 1, 10))
        };
        let limits = world.policies.find(b"p").unwrap().default_limits();
        let mut items = [1, 2].map(|key| BatchItem::new(BucketId::from_u128(key), limits, 1, true));
        world.table.charge_each(&mut items, MonotonicNs(10 * SECOND));
        assert!(world.used(100) <= other.join().unwrap());
        assert_eq!(world.charge(100, 1, 10), 0);
    });
}

#[test]
fn a_bucket_taken_over_before_its_first_charge_takes_none_for_its_successor() {
    explore(|| {
        let world = World::new(1, 1);
        for key in [0, 1, 2, 3, 4, 5] {
            world.charge(key, 1, 0);
        }
        // At second 10 all may be taken over; three of the four are used anew and may not.
        let busy = [0, 1, 2, 3, 4, 5].into_iter().filter(|key| world.used(*key) == 1).take(3);
        busy.for_each(|key| {
            world.charge(key, 1, 10);
        });
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(100, 1, 10))
        };
        let mine = world.charge(200, 1, 10);
        let theirs = other.join().unwrap();
        assert!(world.used(200) <= mine && world.used(100) <= theirs);
    });
}

/// Ticks of whole tokens as the only policy counts them, and the merge that charges them for a peer.
fn merge(world: &World, key: u128, tokens: u64, now_s: u64) -> Option<bool> {
    let limits = world.policies.find(b"p").unwrap().default_limits();
    let now = MonotonicNs(now_s * SECOND);
    let mut known = false;
    let merged = world.table.merge(BucketId::from_u128(key), None, limits, 0, now, |_, heard, limits| {
        known = heard.known;
        // Nothing moves no level, as the first word of a peer about a strict policy does.
        if tokens == 0 {
            heard.tat
        } else {
            heard.tat.max(limits.clock().at(now)) + limits.clock().ticks(tokens)
        }
    });
    merged.map(|_| known)
}

#[test]
fn a_merge_and_a_charge_are_both_in_the_level() {
    explore(|| {
        let world = World::new(1, 10);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(8, 2, 0))
        };
        let merged = merge(&world, 8, 3, 0);
        let charged = other.join().unwrap();
        let limits = world.policies.find(b"p").unwrap().default_limits();
        let level = world.table.level(BucketId::from_u128(8), limits, MonotonicNs(0)).unwrap_or(0);
        let expected = charged + if merged.is_some() { 3 } else { 0 };
        assert_eq!(limits.clock().tokens(level), expected);
        assert_eq!(world.used(8), charged);
    });
}

#[test]
fn a_peer_is_never_known_to_a_bucket_that_took_its_line_over() {
    explore(|| {
        let world = World::new(1, 1);
        (1..=6).for_each(|key| assert!(world.charge(key, 1, 0) <= 1));
        let mut live = (1..=6).filter(|key| world.used(*key) == 1);
        let gives_way = live.next().unwrap();
        live.for_each(|key| assert!(world.charge(key, 1, 10) <= 1));
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.charge(100, 1, 10))
        };
        merge(&world, gives_way, 0, 10);
        if other.join().unwrap() == 1 {
            assert_eq!(merge(&world, 100, 0, 10), Some(false));
        }
    });
}

#[test]
fn a_change_is_told_whoever_was_faster() {
    explore(|| {
        // A relaxed counter promises less than the pair of a line does.
        let shared = Arc::new((ChangeMap::new(1), AtomicU64::new(1)));
        shared.0.mark(0, true);
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.1.fetch_add(1, Ordering::Relaxed);
                shared.0.mark(0, true);
            })
        };
        let mut told = 0;
        shared.0.drain(|_| told = shared.1.load(Ordering::Relaxed));
        other.join().unwrap();
        shared.0.drain(|_| told = shared.1.load(Ordering::Relaxed));
        assert_eq!(told, 2, "what was told last is all there is");
    });
}

#[test]
fn a_change_that_is_noted_is_told_also_when_the_log_is_full() {
    explore(|| {
        let (log, reader) = change_log();
        let shared = Arc::new((ChangeMap::new(1), AtomicU64::new(0)));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for line in 0..3 {
                    shared.1.fetch_add(1, Ordering::Relaxed);
                    if !log.note(line, false) {
                        shared.0.mark(line, false);
                    }
                }
            })
        };
        let (mut told, mut lines) = (0, vec![]);
        let mut drain = || {
            let mut note = |some: &[Change]| {
                told = shared.1.load(Ordering::Relaxed);
                lines.extend(some.iter().map(|change| change.line));
            };
            reader.drain(&mut note);
            shared.0.drain(note);
        };
        drain();
        other.join().unwrap();
        drain();
        lines.sort_unstable();
        assert_eq!((told, lines), (3, vec![0, 1, 2]), "what was told last is all there is, each once");
    });
}
