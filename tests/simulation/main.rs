//! A whole cluster in one thread and in virtual time: real tables, replicas and links, a network with every
//! fault, clocks that drift and step, crashes, reloads. Each scenario follows from its seed.
//!
//! Replay a seed with `SIMULATION_SEED=n cargo test --test simulation one_seed -- --nocapture`.
#![allow(clippy::unwrap_used)]

mod books;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod network;
mod node;
mod scenarios;
mod witness;
mod world;

use std::ops::Range;

use common::seeds::{number, unbroken};
use world::World;

const SEEDS: u64 = 2_000;
const THREADS: u64 = 2;

fn run(seed: u64) -> Result<(), String> {
    let world = || World::new(scenarios::random(seed)).run().map(|_| ());
    unbroken(world)
}

fn run_all(seeds: Range<u64>) {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let seeds = &seeds;
        let some = |thread| seeds.clone().skip(thread as usize).step_by(THREADS as usize);
        let check = move |thread| some(thread).find_map(|seed| Some((seed, run(seed).err()?)));
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || check(thread))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).map(told).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn told((seed, what): (u64, String)) -> String {
    format!(
        "seed {seed}: {what}\nreplay: SIMULATION_SEED={seed} cargo test --test simulation one_seed -- \
         --nocapture"
    )
}

#[test]
fn every_seed_keeps_the_promises_of_replication() {
    run_all(0..SEEDS);
}

#[test]
#[ignore = "takes as long as it is told: SIMULATION_SEEDS=n"]
fn as_many_seeds_as_wanted() {
    run_all(SEEDS..SEEDS + number("SIMULATION_SEEDS").unwrap_or(100_000));
}

#[test]
fn one_seed() {
    let seed = number("SIMULATION_SEED").unwrap_or(0);
    println!("{:?}", scenarios::random(seed));
    if let Err(what) = run(seed) {
        panic!("{}", told((seed, what)));
    }
}
