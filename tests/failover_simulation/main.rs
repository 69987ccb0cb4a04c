//! The failover runbook in a world of its own: several agents, each with a real `Runbook`, `Outlook` and journal,
//! a provider, a pager, persons, and faults of all of them, in one thread and in virtual time. Each scenario
//! follows from its seed.
//!
//! Replay a seed with `FAILOVER_SEED=n cargo test --test failover_simulation one_seed -- --nocapture`.
#![allow(clippy::unwrap_used)]

mod agent;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod fixed;
mod hands;
mod person;
mod promises;
mod provider;
mod scenario;
mod world;

use std::ops::Range;

use common::seeds::{number, unbroken};
use scenario::Scenario;
use world::World;

const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;

/// Runs a scenario; what was broken.
fn run(scenario: Scenario, is_told: bool) -> Result<world::Summary, String> {
    let world = || World::new(scenario, is_told).run();
    unbroken(world)
}

/// What all runs together came to: a simulation that never moves traffic shows nothing.
#[derive(Debug, Default)]
struct Totals {
    switched: u64,
    restored: u64,
    handed_over: u64,
    crashes: u64,
}

fn run_all(seeds: Range<u64>) -> Totals {
    let (mut totals, mut failures) = (Totals::default(), Vec::new());
    std::thread::scope(|scope| {
        let seeds = &seeds;
        let check = move |thread: u64| {
            let mut totals = Totals::default();
            for seed in seeds.clone().skip(thread as usize).step_by(THREADS as usize) {
                match run(scenario::random(seed), false) {
                    Ok(summary) => summary.add_to(&mut totals),
                    Err(what) => return (totals, Some(told(seed, &what))),
                }
            }
            (totals, None)
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || check(thread))).collect();
        for thread in threads {
            let (some, failure) = thread.join().unwrap();
            totals.switched += some.switched;
            totals.restored += some.restored;
            totals.handed_over += some.handed_over;
            totals.crashes += some.crashes;
            failures.extend(failure);
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{totals:?}");
    totals
}

fn told(seed: u64, what: &str) -> String {
    format!(
        "seed {seed}: {what}\nreplay: FAILOVER_SEED={seed} cargo test --test failover_simulation one_seed -- \
         --nocapture"
    )
}

#[test]
fn every_seed_keeps_the_promises_of_the_runbook() {
    let totals = run_all(0..SEEDS);
    let Totals { switched, restored, handed_over, crashes } = totals;
    assert!(switched > SEEDS / 5 && restored > SEEDS / 100, "{totals:?}");
    assert!(handed_over > SEEDS / 10 && crashes > SEEDS / 10, "{totals:?}");
}

#[test]
#[ignore = "takes as long as it is told: FAILOVER_SEEDS=n"]
fn as_many_seeds_as_wanted() {
    let from = number("FAILOVER_FROM").unwrap_or(SEEDS);
    run_all(from..from + number("FAILOVER_SEEDS").unwrap_or(1_000_000));
}

#[test]
fn one_seed() {
    let seed = number("FAILOVER_SEED").unwrap_or(0);
    let scenario = scenario::random(seed);
    println!("{scenario:#?}");
    if let Err(what) = run(scenario, true) {
        panic!("{}", told(seed, &what));
    }
}
