//! A random scenario for each seed.

use std::ops::RangeInclusive;

use openclaw_rating::bucket::sharing::{Consistency, Partition, Share, Sharing};

use crate::common::seeds::Random;
use crate::network::{Cut, Detour, Faults};
use crate::world::{Crash, Demand, Reload, Scenario};

const LENGTH_MS: u64 = 15_000;
/// Times are multiples of this, a tick of the world.
const TICK_MS: u64 = 5;

pub(crate) fn random(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let nodes = random.between(2, 5) as usize;
    let rate = random.pick(&[10, 50, 200]);
    let sharing = sharing(&mut random);
    let burst = random.between(least_burst(sharing, nodes), rate * 2);
    Scenario {
        seed,
        nodes,
        keys: random.between(1, 2) as usize,
        rate,
        burst,
        most_cost: random.pick(&[1, 1, 3]).min(burst),
        sharing,
        faults: faults(&mut random),
        cuts: cuts(&mut random, nodes),
        crashes: crashes(&mut random, nodes),
        reloads: reloads(&mut random, nodes, rate, least_burst(sharing, nodes)..=burst * 2),
        demand: demand(&mut random, nodes, rate),
        drift_ppm: (0..nodes).map(|_| random.between(0, 400) as i64 - 200).collect(),
        flush_ms: random.pick(&[20, 50, 100]),
        length_ms: LENGTH_MS,
    }
}

fn time_ms(random: &mut Random, low: u64, high: u64) -> u64 {
    random.between(low / TICK_MS, high / TICK_MS) * TICK_MS
}

fn sharing(random: &mut Random) -> Sharing {
    Sharing {
        partition: random.pick(&[Partition::Share, Partition::Share, Partition::Full]),
        share: random.pick(&[Share::Observed, Share::Equal]),
        consistency: if random.chance(0.1) { Consistency::Strict } else { Consistency::Eventual },
    }
}

/// A part of a strict policy has a burst too.
fn least_burst(sharing: Sharing, nodes: usize) -> u64 {
    if sharing.consistency == Consistency::Strict { nodes as u64 } else { 1 }
}

fn faults(random: &mut Random) -> Faults {
    let mut probability = |most: f64| if random.chance(0.5) { random.unit() * most } else { 0.0 };
    let (loss, duplication) = (probability(0.4), probability(0.3));
    let (corruption, truncation) = (probability(0.1), probability(0.1));
    let delay_ms = random.between(0, 150);
    let jitter_ms = random.pick(&[0, 10, 200]);
    let detour = random
        .chance(0.3)
        .then(|| Detour { from_ms: random.between(0, LENGTH_MS), delay_ms: random.between(0, 150) });
    Faults { delay_ms, jitter_ms, loss, duplication, corruption, truncation, detour }
}

fn cuts(random: &mut Random, nodes: usize) -> Vec<Cut> {
    let mut cuts = vec![];
    for _ in 0..random.pick(&[0, 0, 1, 2]) {
        let (from, to) = if random.chance(0.5) { two_sides(random, nodes) } else { two_nodes(random, nodes) };
        let is_both_ways = random.chance(0.7);
        for (begin_ms, end_ms) in times_of_cuts(random) {
            cuts.push(Cut { from, to, begin_ms, end_ms });
            if is_both_ways {
                cuts.push(Cut { from: to, to: from, begin_ms, end_ms });
            }
        }
    }
    cuts
}

/// Some nodes and all others.
fn two_sides(random: &mut Random, nodes: usize) -> (u16, u16) {
    let side = random.between(1, (1 << nodes) - 2) as u16;
    (side, !side)
}

/// Two nodes, which third ones may still hear.
fn two_nodes(random: &mut Random, nodes: usize) -> (u16, u16) {
    let one = random.below(nodes as u64);
    let other = (one + random.between(1, nodes as u64 - 1)) % nodes as u64;
    (1 << one, 1 << other)
}

/// One long cut, or short ones in a row: a link that comes and goes about as fast as that is noticed.
fn times_of_cuts(random: &mut Random) -> Vec<(u64, u64)> {
    let mut begin_ms = random.between(0, LENGTH_MS);
    if random.chance(0.7) {
        return vec![(begin_ms, begin_ms + random.between(100, 8000))];
    }
    let mut times = vec![];
    for _ in 0..random.between(2, 8) {
        let end_ms = begin_ms + random.between(400, 1500);
        times.push((begin_ms, end_ms));
        begin_ms = end_ms + random.between(50, 1500);
    }
    times
}

fn crashes(random: &mut Random, nodes: usize) -> Vec<Crash> {
    let crash = |random: &mut Random| Crash {
        node: random.below(nodes as u64) as usize,
        at_ms: time_ms(random, 1000, LENGTH_MS),
        down_ms: time_ms(random, 50, 4000),
        with_snapshot: random.chance(0.5),
        wall_step_ms: random.between(0, 20_000_000) as i64 - 10_000_000,
        epoch_is_lost: random.chance(0.3),
    };
    (0..random.pick(&[0, 0, 1, 2])).map(|_| crash(random)).collect()
}

fn reloads(random: &mut Random, nodes: usize, rate: u64, bursts: RangeInclusive<u64>) -> Vec<Reload> {
    if !random.chance(0.25) {
        return vec![];
    }
    // A rolling change: one node after the other, in some order, perhaps by way of not having it.
    let new = (rate * random.pick(&[1, 2, 100]), random.between(*bursts.start(), *bursts.end()));
    let mut reloads = vec![];
    for node in 0..nodes {
        let at_ms = time_ms(random, 1000, LENGTH_MS - 2000);
        if random.chance(0.3) {
            reloads.push(Reload { node, at_ms, limit: None });
        }
        reloads.push(Reload { node, at_ms: at_ms + 1000, limit: Some(new) });
    }
    reloads
}

fn demand(random: &mut Random, nodes: usize, rate: u64) -> Vec<Demand> {
    let mut demand = vec![];
    for node in 0..nodes {
        let mut from_ms = 0;
        while from_ms < LENGTH_MS {
            let tokens_per_s = rate as f64 * random.pick(&[0.0, 0.05, 0.3, 1.0, 2.0]);
            demand.push(Demand { node, from_ms, tokens_per_s });
            from_ms += random.between(500, 6000);
        }
    }
    demand
}
