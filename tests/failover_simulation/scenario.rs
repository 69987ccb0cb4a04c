//! A random scenario for each seed.

use openclaw_rating::agent::orders::AgentMode;
use openclaw_rating::agent::runbook::{Command, Failback};

use crate::common::seeds::Random;
use crate::faults::{Fault, Faults, Timed};
use crate::person::{Edit, OnCall, Typed, name_of};

/// Faults begin and end within.
pub(crate) const FAULTS_MS: u64 = 70_000;
const FIRST_FAULT_MS: u64 = 4_000;
pub(crate) const FOR_EVER: u64 = u64::MAX;

/// Where a crash is, counted in lines of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashAt {
    /// The line is not written any more.
    Before(u64),
    /// It is.
    After(u64),
}

/// A crash of one agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) node: usize,
    pub(crate) at: CrashAt,
    pub(crate) down_ms: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) regions: usize,
    pub(crate) nodes_each: usize,
    pub(crate) witnesses: usize,
    /// Regions in service at first.
    pub(crate) serving: Vec<usize>,
    pub(crate) mode: AgentMode,
    /// A node with other settings than all others.
    pub(crate) observer: Option<usize>,
    pub(crate) dry_run: bool,
    pub(crate) failback: Failback,
    pub(crate) cap: u32,
    pub(crate) probe_every_ms: u64,
    pub(crate) visible_after_ms: u64,
    /// Added to the time of each node.
    pub(crate) clock_offset_ms: Vec<u64>,
    pub(crate) faults: Faults,
    pub(crate) crashes: Vec<Crash>,
    pub(crate) on_call: OnCall,
    pub(crate) typed: Vec<Typed>,
    pub(crate) edits: Vec<Edit>,
}

pub(crate) fn random(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let regions = random.pick(&[2, 2, 2, 3]);
    let nodes_each = random.pick(&[1, 1, 2]);
    let nodes = regions * nodes_each;
    let witnesses = random.pick(&[1, 1, 2, 3]);
    let serving = match random.below(3) {
        0 => (0..regions).collect(),
        _ => vec![0],
    };
    let calm = random.chance(0.2);
    let mut scenario = Scenario {
        seed,
        regions,
        nodes_each,
        witnesses,
        serving,
        mode: random.pick(&[
            AgentMode::Automatic,
            AgentMode::Automatic,
            AgentMode::Automatic,
            AgentMode::Manual,
        ]),
        observer: random.chance(0.05).then(|| random.below(nodes as u64) as usize),
        dry_run: random.chance(0.04),
        failback: random.pick(&[Failback::Manual, Failback::Manual, Failback::AfterMs(20_000)]),
        cap: random.pick(&[1, 2, 3]),
        probe_every_ms: random.pick(&[400, 500, 1_000]),
        visible_after_ms: random.pick(&[100, 500, 3_000]),
        clock_offset_ms: (0..nodes).map(|_| random.pick(&[0, 0, 1_300, 6_370_000])).collect(),
        faults: faults(&mut random, regions, nodes, witnesses),
        crashes: if calm { vec![] } else { crashes(&mut random, nodes) },
        on_call: on_call(&mut random),
        typed: if calm { vec![] } else { typed(&mut random, regions, nodes) },
        edits: if calm { vec![] } else { edits(&mut random, regions) },
    };
    if random.chance(0.1) {
        plan_a_move(&mut random, &mut scenario);
    }
    scenario
}

/// A person moves traffic while most things are well; the target may not bear it.
fn plan_a_move(random: &mut Random, scenario: &mut Scenario) {
    let at_ms = random.between(FIRST_FAULT_MS, FAULTS_MS / 2);
    let command = Command::Start { from: name_of(0), to: None, why: String::new() };
    scenario.typed.insert(0, Typed { at_ms, node: scenario.nodes_each, command });
    scenario.faults.0.truncate(random.pick(&[0, 0, 1, 2]));
    if random.chance(0.6) {
        let (from_ms, to_ms) = (0, at_ms + random.pick(&[2_000, 30_000]));
        scenario.faults.0.push(Timed { fault: Fault::FailsUnderLoad(1), from_ms, to_ms });
    }
}

fn faults(random: &mut Random, regions: usize, nodes: usize, witnesses: usize) -> Faults {
    let mut list = vec![];
    let region = |random: &mut Random| random.below(regions as u64) as usize;
    // Most stories are about one region that fails.
    if random.chance(0.85) {
        let failed = random.pick(&[0, 0, 0, 1]);
        let fault = match random.below(10) {
            0..=5 => Fault::Dead(failed),
            6 | 7 => Fault::Uplink(failed),
            8 => Fault::Sick(failed),
            _ => Fault::Flapping(failed),
        };
        list.push(timed(random, fault, 0.5));
    }
    for _ in 0..random.pick(&[0, 0, 1, 1, 2, 3, 5]) {
        let (a, b) = (region(random), region(random));
        let node = random.below(nodes as u64) as usize;
        let witness = random.below(witnesses as u64) as usize;
        let fault = match random.below(19) {
            0 => Fault::Dead(a),
            1 => Fault::Sick(a),
            2 => Fault::Flapping(a),
            3 => Fault::Uplink(a),
            4 => Fault::Between(a, b),
            5 | 6 => Fault::Link,
            7 => Fault::ProviderDown,
            8 => Fault::ProviderSlow,
            9 | 10 => Fault::ProviderHalfDone,
            11 => Fault::PagerDown,
            12 => Fault::Witness(witness),
            13 => Fault::WitnessLies(witness),
            14 => Fault::DiskFull(node),
            15 => Fault::LateProbes(node),
            16 => Fault::StaleResolvers,
            17 => Fault::FailsUnderLoad(a),
            _ => Fault::FailsPreflight(a),
        };
        list.push(timed(random, fault, 0.15));
    }
    Faults(list)
}

fn timed(random: &mut Random, fault: Fault, for_ever: f64) -> Timed {
    let from_ms = random.between(FIRST_FAULT_MS, FAULTS_MS / 2);
    let to_ms = from_ms + random.pick(&[300, 2_000, 5_000, 10_000, 30_000]);
    // A flap that never ends has no end to look at.
    let to_ms =
        if random.chance(for_ever) && !matches!(fault, Fault::Flapping(_)) { FOR_EVER } else { to_ms };
    Timed { fault, from_ms, to_ms }
}

fn crashes(random: &mut Random, nodes: usize) -> Vec<Crash> {
    let crash = |random: &mut Random| {
        let line = random.between(2, 60);
        let at = if random.chance(0.5) { CrashAt::Before(line) } else { CrashAt::After(line) };
        let down_ms = random.pick(&[300, 1_500, 6_000, 20_000]);
        Crash { node: random.below(nodes as u64) as usize, at, down_ms }
    };
    (0..random.pick(&[0, 0, 1, 1, 2])).map(|_| crash(random)).collect()
}

fn on_call(random: &mut Random) -> OnCall {
    let after_ms = random.pick(&[200, 1_000, 5_000, 20_000]);
    match random.below(6) {
        0..=2 => OnCall::Sleeps,
        3 | 4 => OnCall::Acknowledges { after_ms },
        _ => OnCall::Declines { after_ms },
    }
}

fn typed(random: &mut Random, regions: usize, nodes: usize) -> Vec<Typed> {
    let count = random.pick(&[0, 0, 0, 1, 2, 4]);
    let one = |random: &mut Random| {
        let from = name_of(random.below(regions as u64) as usize);
        let to = random.chance(0.5).then(|| name_of(random.below(regions as u64) as usize));
        let why = String::new();
        let command = match random.below(11) {
            0 => Command::Ack,
            1 => Command::Decline,
            2 | 3 => Command::Start { from, to, why },
            4 => Command::Abort,
            5 | 6 => Command::Rollback,
            7 | 8 => Command::Freeze { why: "a person said so".to_owned() },
            9 => Command::Thaw,
            _ => Command::Drill,
        };
        let at_ms = random.between(FIRST_FAULT_MS, FAULTS_MS);
        Typed { at_ms, node: random.below(nodes as u64) as usize, command }
    };
    (0..count).map(|_| one(random)).collect()
}

fn edits(random: &mut Random, regions: usize) -> Vec<Edit> {
    if !random.chance(0.1) {
        return vec![];
    }
    let bits = random.between(1, (1 << regions) - 1);
    let set = (0..regions).filter(|region| bits & (1 << region) != 0).collect();
    let to = if random.chance(0.2) { None } else { Some(set) };
    vec![Edit { at_ms: random.between(FIRST_FAULT_MS, FAULTS_MS), to }]
}
