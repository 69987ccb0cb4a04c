//! Decisions beside one dependent cache miss and beside `governor`, interleaved, as ratios.
//!
//! Machines are noisy and differ: a ratio within one round of one run says more than any time. Each
//! round measures every contender once, over keys of its own; the median over rounds is printed.
#![allow(clippy::unwrap_used)]

mod common;

use common::chase::Chase;
use common::governed::Governed;
use common::keys::{Key, Random, key, text};
use common::ours::Ours;
use common::process::{resident_bytes, thread_cpu_ns};
use common::{BATCH, Size};

const ROUNDS: usize = 15;
/// Checks of one contender in one round: more than the caches hold of the larger tables.
const CHECKS: usize = 1 << 19;
/// So many are prepared at a time, so that their keys are in the caches when they are checked, as those of
/// requests that have just arrived are.
const BLOCK: usize = 1 << 10;

/// What a line takes in the counters of one peer.
const PEER_COUNTER_BYTES: usize = 8;

/// Everything of one size that takes part.
struct Field {
    size: Size,
    ours: Ours,
    ours_bytes: usize,
    governed: Governed<String>,
    governed_bytes: usize,
    governed_inline: Governed<Key>,
    governed_inline_bytes: usize,
    chase: Chase,
    random: Random,
}

/// Nanoseconds a check or a step, of each contender in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    miss: f64,
    single: f64,
    in_turn: f64,
    batch: f64,
    hashed_single: f64,
    hashed_batch: f64,
    governor: f64,
    governor_inline: f64,
}

impl Field {
    fn new(size: Size) -> Self {
        let (ours, ours_bytes) = with_resident_bytes(|| Ours::new(size));
        let (governed, governed_bytes) = with_resident_bytes(|| Governed::new(size, text));
        let (governed_inline, governed_inline_bytes) =
            with_resident_bytes(|| Governed::new(size, |key| *key));
        assert!(ours.without_bucket() * 1000 < size.keys() as u64, "the table holds the keys");
        Self {
            size,
            ours,
            ours_bytes,
            governed,
            governed_bytes,
            governed_inline,
            governed_inline_bytes,
            chase: Chase::new(size.bytes()),
            random: Random::new(2),
        }
    }

    fn round(&mut self) -> Round {
        let Self { size, ours, governed, governed_inline, chase, random, .. } = self;
        let id = |key: &Key| ours.id(key);
        let mut draw = || key(random.below(size.keys()));
        Round {
            miss: nanoseconds(|| chase.follow(CHECKS)) / CHECKS as f64,
            single: a_check(&mut draw, id, |ids| ours.decide(ids)),
            in_turn: a_check(&mut draw, id, |ids| ours.decide_in_turn(ids)),
            batch: a_check(&mut draw, id, |ids| ours.decide_batches(ids)),
            hashed_single: a_check(&mut draw, text, |keys| ours.check_all(keys)),
            hashed_batch: a_check(&mut draw, text, |keys| ours.check_batches(keys)),
            governor: a_check(&mut draw, text, |keys| governed.check_all(keys)),
            governor_inline: a_check(&mut draw, |key| *key, |keys| governed_inline.check_all(keys)),
        }
    }
}

/// Nanoseconds a check by `check_all`, of keys as `draw` gives them in the form that `prepare` makes of them.
fn a_check<K>(
    mut draw: impl FnMut() -> Key,
    prepare: impl Fn(&Key) -> K,
    check_all: impl Fn(&[K]) -> usize,
) -> f64 {
    let mut keys = Vec::with_capacity(BLOCK);
    let blocks = 0..CHECKS / BLOCK;
    let spent = blocks.map(|_| {
        keys.clear();
        keys.extend((0..BLOCK).map(|_| prepare(&draw())));
        nanoseconds(|| check_all(&keys))
    });
    spent.sum::<f64>() / CHECKS as f64
}

/// What `make` makes, and by how much resident memory has grown.
fn with_resident_bytes<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let before = resident_bytes();
    let made = make();
    (made, resident_bytes().saturating_sub(before))
}

fn nanoseconds(work: impl FnOnce() -> usize) -> f64 {
    let start = thread_cpu_ns();
    std::hint::black_box(work());
    (thread_cpu_ns() - start) as f64
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A ratio, what it should be, and whether it is.
fn print_ratio(name: &str, ratio: f64, goal: f64, at_most: bool) {
    let holds = if at_most { ratio <= goal } else { ratio >= goal };
    let (sign, verdict) = (if at_most { '≤' } else { '≥' }, if holds { "holds" } else { "MISSED" });
    println!("| {name} | {ratio:.2} | {sign} {goal:.2} | {verdict} |");
}

fn print_times(size: Size, rounds: &[Round]) {
    let columns: [fn(&Round) -> f64; 8] = [
        |r| r.miss,
        |r| r.single,
        |r| r.in_turn,
        |r| r.batch,
        |r| r.hashed_single,
        |r| r.hashed_batch,
        |r| r.governor,
        |r| r.governor_inline,
    ];
    let times = columns.map(|of| format!("{:.1}", median(rounds, of)));
    println!("| {} ({}) | {} |", size.name, size.keys(), times.join(" | "));
}

fn print_miss_ratios(size: Size, rounds: &[Round]) {
    let name = size.name;
    let ratio = |of: fn(&Round) -> f64| median(rounds, |r| of(r) / r.miss);
    print_ratio(&format!("{name}: single / cache miss"), ratio(|r| r.single), 1.5, true);
    print_ratio(&format!("{name}: single, in turn / cache miss"), ratio(|r| r.in_turn), 1.5, true);
    print_ratio(&format!("{name}: batches / cache miss"), ratio(|r| r.batch), 0.35, true);
}

fn print_governor_ratios(size: Size, rounds: &[Round]) {
    let name = size.name;
    let single = median(rounds, |r| r.governor / r.hashed_single);
    print_ratio(&format!("{name}: governor / single, hashed"), single, 1.5, false);
    let batch = median(rounds, |r| r.governor / r.hashed_batch);
    print_ratio(&format!("{name}: governor / batches, hashed"), batch, 3.0, false);
}

fn print_memory(field: &Field) {
    let (name, keys) = (field.size.name, field.size.keys() as f64);
    let with_a_peer = field.ours_bytes + field.size.lines * PEER_COUNTER_BYTES;
    print_ratio(
        &format!("{name}: bytes a key, a peer's counter included"),
        with_a_peer as f64 / keys,
        100.0,
        true,
    );
    println!("| {name}: bytes a key in governor | {:.1} | | |", field.governed_bytes as f64 / keys);
    let inline = field.governed_inline_bytes as f64 / keys;
    println!("| {name}: the same, keys of exactly 16 bytes | {inline:.1} | | |");
}

/// Fills everything to one size, measures and prints times; ratios are for later.
fn measure(size: Size, report: &mut Vec<(Size, Vec<Round>)>) -> Field {
    let mut field = Field::new(size);
    field.round();
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| field.round()).collect();
    print_times(size, &rounds);
    report.push((size, rounds));
    field
}

fn main() {
    // `cargo test --benches` runs this too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("Nanoseconds of processor time, medians of {ROUNDS} rounds of {CHECKS} checks:\n");
    println!(
        "| keys | cache miss | single | single, in turn | batches of {BATCH} | hashed single \
         | hashed batches | governor | governor, 16-byte keys |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut results = Vec::new();
    let [_, _, largest] = Size::ALL.map(|size| measure(size, &mut results));
    println!("\n| ratio | median | goal | |\n|---|---|---|---|");
    for (size, rounds) in &results {
        print_governor_ratios(*size, rounds);
    }
    if let Some((size, rounds)) = results.last() {
        print_miss_ratios(*size, rounds);
    }
    print_memory(&largest);
}
