//! A cluster in virtual time: demand, network, crashes, reloads, and the books that are checked.

use std::collections::HashSet;

use openclaw_rating::bucket::gcra::Rate;
use openclaw_rating::bucket::policy::LimitSpec;
use openclaw_rating::bucket::sharing::{Consistency, Sharing};
use openclaw_rating::link::Handled;
use openclaw_rating::replica::Applied;

use crate::books::{Books, Central};
use crate::common::seeds::Random;
use crate::network::{Cut, Datagram, Faults, MAX_KEYS, Network};
use crate::node::{Node, Settings, Snapshot};
use crate::witness::Heard;

pub(crate) const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const TICK_NS: u64 = 5 * MS;
/// What is in flight when demand ends has arrived by then, whatever was lost before.
const QUIET_NS: u64 = 12 * SECOND;
const SNAPSHOT_EVERY_NS: u64 = SECOND;
/// The link's sweep has come by each line in this time.
const SWEEP_NS: u64 = 640 * SECOND;
/// While nothing happens; less than what makes a peer absent.
const LONG_TICK_NS: u64 = 400 * MS;

/// Demand of one node from some time on, in tokens a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    pub(crate) node: usize,
    pub(crate) from_ms: u64,
    pub(crate) tokens_per_s: f64,
}

/// A node dies without a word, and starts again later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) node: usize,
    pub(crate) at_ms: u64,
    pub(crate) down_ms: u64,
    pub(crate) with_snapshot: bool,
    /// Where the wall clock, of which a new epoch is made, stands then.
    pub(crate) wall_step_ms: i64,
    /// The epoch that was reached is lost: the wall clock alone makes the new one.
    pub(crate) epoch_is_lost: bool,
}

/// A node gets another limit, or loses the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reload {
    pub(crate) node: usize,
    pub(crate) at_ms: u64,
    pub(crate) limit: Option<(u64, u64)>,
}

/// All that happens.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) keys: usize,
    pub(crate) rate: u64,
    pub(crate) burst: u64,
    pub(crate) most_cost: u64,
    pub(crate) sharing: Sharing,
    pub(crate) faults: Faults,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) crashes: Vec<Crash>,
    pub(crate) reloads: Vec<Reload>,
    pub(crate) demand: Vec<Demand>,
    pub(crate) drift_ppm: Vec<i64>,
    pub(crate) flush_ms: u64,
    pub(crate) length_ms: u64,
}

/// What came of it, for one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) admitted: f64,
    /// What one bucket would have admitted.
    pub(crate) central: f64,
    pub(crate) asked: f64,
    /// The most that the true level was above the burst.
    pub(crate) highest_excess: f64,
}

pub(crate) struct World {
    scenario: Scenario,
    now_ns: u64,
    nodes: Vec<Option<Node>>,
    /// What is on the disk of each node: the epoch, and the last snapshot.
    disks: Vec<(u64, Snapshot)>,
    network: Network,
    random: Random,
    books: Vec<Books>,
    central: Vec<Central>,
    asked: Vec<f64>,
    /// Parts of a token that are asked for next, by node and key.
    due: Vec<Vec<f64>>,
    lives: u64,
    /// Datagrams that were heard, by the life of the node that heard them.
    accepted: HashSet<(u64, u64)>,
}

fn limit(rate: u64, burst: u64) -> LimitSpec {
    LimitSpec { rate: Rate::new(rate, SECOND).unwrap(), burst }
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed ^ 0x5eed);
        let network = Network::new(scenario.faults, scenario.cuts.clone(), Random::new(random.next()));
        // A bucket on the fastest clock is no bound of one on a slower clock, but the other way round.
        let fastest = 1.0 + scenario.drift_ppm.iter().max().map_or(0.0, |ppm| *ppm as f64 / 1e6);
        let (rate, burst) = (scenario.rate as f64, scenario.burst as f64);
        let is_strict = scenario.sharing.consistency == Consistency::Strict;
        let mut world = Self {
            now_ns: 0,
            nodes: vec![],
            disks: vec![(1_000_000, vec![]); scenario.nodes],
            network,
            random,
            books: vec![Books::new(scenario.nodes, rate * fastest, burst, is_strict); scenario.keys],
            central: vec![Central::new(rate, burst); scenario.keys],
            asked: vec![0.0; scenario.keys],
            due: vec![vec![0.0; scenario.keys]; scenario.nodes],
            lives: 0,
            accepted: HashSet::new(),
            scenario,
        };
        world.nodes = (0..world.scenario.nodes).map(|number| Some(world.start(number, false))).collect();
        world
    }

    fn start(&mut self, number: usize, with_snapshot: bool) -> Node {
        let Scenario { nodes, keys, rate, burst, sharing, flush_ms, seed, .. } = self.scenario;
        let drift_ppm = self.scenario.drift_ppm[number];
        let limit = limit(rate, burst);
        let settings = Settings { number, nodes, limit, sharing, keys, drift_ppm, flush_ms, seed };
        self.lives += 1;
        let (epoch_ms, snapshot) = &self.disks[number];
        let empty = vec![];
        let snapshot = if with_snapshot { snapshot } else { &empty };
        Node::start(settings, self.lives, *epoch_ms, self.now_ns, snapshot)
    }

    /// Runs to the end and until all is quiet; an error is a broken invariant.
    pub(crate) fn run(mut self) -> Result<Vec<Outcome>, String> {
        let end_ns = self.scenario.length_ms * MS;
        while self.now_ns < end_ns {
            self.step(TICK_NS, true)?;
        }
        self.network.heal();
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_none() {
                self.restart(number, false);
            }
        }
        while self.now_ns < end_ns + QUIET_NS {
            self.step(TICK_NS, false)?;
        }
        self.wait_for_sweep()?;
        self.check_quiet()?;
        let outcome = |key: usize| Outcome {
            admitted: self.books[key].admitted,
            central: self.central[key].admitted,
            asked: self.asked[key],
            highest_excess: self.books[key].highest_excess,
        };
        Ok((0..self.scenario.keys).map(outcome).collect())
    }

    /// What a node without the policy was told is lost on it, until the sweep comes by each line again.
    fn wait_for_sweep(&mut self) -> Result<(), String> {
        if self.scenario.reloads.iter().all(|reload| reload.limit.is_some()) {
            return Ok(());
        }
        let end_ns = self.now_ns + SWEEP_NS;
        while self.now_ns < end_ns {
            self.step(LONG_TICK_NS, false)?;
        }
        Ok(())
    }

    fn step(&mut self, tick_ns: u64, with_demand: bool) -> Result<(), String> {
        self.now_ns += tick_ns;
        self.crash_and_restart();
        self.reload();
        self.deliver()?;
        if with_demand {
            self.ask()?;
        }
        self.transmit();
        if self.now_ns.is_multiple_of(SNAPSHOT_EVERY_NS) {
            for (node, disk) in self.nodes.iter().zip(&mut self.disks) {
                if let Some(node) = node {
                    disk.1 = node.snapshot(self.now_ns);
                }
            }
        }
        Ok(())
    }

    fn now_s(&self) -> f64 {
        self.now_ns as f64 / SECOND as f64
    }

    fn crash_and_restart(&mut self) {
        for crash in self.scenario.crashes.clone() {
            if self.now_ns == crash.at_ms * MS
                && let Some(node) = self.nodes[crash.node].take()
            {
                let reached = node.epoch_reached_ms(self.now_ns);
                let wall = reached.saturating_add_signed(crash.wall_step_ms).max(1);
                self.disks[crash.node].0 = if crash.epoch_is_lost { wall } else { reached.max(wall) };
                self.books.iter_mut().for_each(|books| books.crashed(crash.node));
            }
            if self.now_ns == (crash.at_ms + crash.down_ms) * MS && self.nodes[crash.node].is_none() {
                self.restart(crash.node, crash.with_snapshot);
            }
        }
    }

    fn restart(&mut self, number: usize, with_snapshot: bool) {
        let node = self.start(number, with_snapshot);
        self.nodes[number] = Some(node);
        let now_s = self.now_s();
        self.books.iter_mut().for_each(|books| books.started(number, now_s));
    }

    fn reload(&mut self) {
        for reload in self.scenario.reloads.clone() {
            if self.now_ns == reload.at_ms * MS
                && let Some(node) = &mut self.nodes[reload.node]
            {
                node.reload(reload.limit.map(|(rate, burst)| limit(rate, burst)), self.now_ns);
                if let Some((rate, burst)) = reload.limit {
                    self.books.iter_mut().for_each(|books| books.allow(rate as f64 * 1.001, burst as f64));
                }
            }
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        while let Some(mut datagram) = self.network.arrive(self.now_ns) {
            let Some(node) = &mut self.nodes[datagram.to] else { continue };
            let handled = node.handle(datagram.from, &mut datagram.bytes, self.now_ns);
            let log = std::mem::take(&mut node.witness.log);
            let is_heard = matches!(handled, Handled::Accepted { .. }) || !log.is_empty();
            if is_heard && datagram.spoilt {
                return Err(format!("a spoilt datagram was heard: {handled:?}, {log:?}"));
            }
            if is_heard && !self.accepted.insert((node.life, datagram.original)) {
                return Err(format!("a datagram was heard twice: {handled:?}, {log:?}"));
            }
            for heard in log {
                self.book(&datagram, &heard);
            }
        }
        Ok(())
    }

    fn book(&mut self, datagram: &Datagram, heard: &Heard) {
        let Datagram { to, from, life, .. } = *datagram;
        let Some(node) = &self.nodes[to] else { return };
        let key = node.key_of(heard.entry.id);
        let now_s = self.now_s();
        let left = match &self.nodes[from] {
            Some(sender) if sender.life == life => sender.used(key).saturating_sub(heard.entry.used) as f64,
            // What an earlier life said late is in no book any more.
            _ => return,
        };
        let books = &mut self.books[key];
        books.drain(now_s);
        match heard.applied {
            Applied::Charged(growth) => {
                books.heard(to, from, growth as f64, heard.drained, heard.forgotten as f64);
                books.met(to, from, left, 0.0);
            }
            // Told in whole tokens, rounded up.
            Applied::FirstContact(told) => {
                books.met(to, from, left, told.saturating_sub(1 + heard.forgotten) as f64);
            }
            Applied::Adopted => {
                books.met(to, from, left, 0.0);
                books.took_over(to, from, datagram.ignorance[key]);
            }
            _ => {}
        }
    }

    fn ask(&mut self) -> Result<(), String> {
        let first = self.random.below(self.nodes.len() as u64) as usize;
        for number in 0..self.nodes.len() {
            let number = (first + number) % self.nodes.len();
            for key in 0..self.scenario.keys {
                self.ask_node(number, key)?;
            }
        }
        Ok(())
    }

    fn ask_node(&mut self, number: usize, key: usize) -> Result<(), String> {
        let now_ms = self.now_ns / MS;
        let current = self.scenario.demand.iter().rfind(|d| d.node == number && d.from_ms <= now_ms);
        let tokens = current.map_or(0.0, |d| d.tokens_per_s) * TICK_NS as f64 / SECOND as f64;
        // Twice as much or nothing, on average what is wanted.
        self.due[number][key] += tokens * 2.0 * self.random.unit();
        let now_s = self.now_s();
        while self.due[number][key] >= 1.0 {
            let cost = self.random.between(1, self.scenario.most_cost).min(self.scenario.burst);
            self.due[number][key] -= cost as f64;
            let Some(node) = &self.nodes[number] else { continue };
            let cost = if node.burst() == 0 { cost } else { cost.min(node.burst()) };
            let Some(allowed) = node.check(key, cost, self.now_ns) else { continue };
            self.asked[key] += cost as f64;
            self.central[key].check(cost as f64, now_s);
            if allowed {
                self.books[key].admit(number, cost as f64, now_s)?;
            }
        }
        Ok(())
    }

    fn transmit(&mut self) {
        for number in 0..self.nodes.len() {
            let Some(node) = &mut self.nodes[number] else { continue };
            let outgoing = node.transmit(self.now_ns);
            let life = node.life;
            let mut ignorance = [0.0; MAX_KEYS];
            for (known, books) in ignorance.iter_mut().zip(&self.books) {
                *known = books.ignorance(number);
            }
            for (to, bytes) in outgoing {
                let datagram = Datagram { from: number, to, life, bytes, ignorance, ..Datagram::default() };
                self.network.send(self.now_ns, &datagram);
            }
        }
    }

    /// When nothing is in flight any more, all nodes have equal counters and nothing is owed.
    fn check_quiet(&self) -> Result<(), String> {
        for key in 0..self.scenario.keys {
            let in_flight = self.books[key].in_flight();
            if in_flight > 0.0 {
                return Err(format!("{in_flight} tokens of key {key} were never heard"));
            }
            for (number, node) in
                self.nodes.iter().enumerate().filter_map(|(n, node)| Some((n, node.as_ref()?)))
            {
                if let Some(unrest) = node.unrest() {
                    return Err(format!("node {number} {unrest}"));
                }
                if node.phantom(key) != 0 {
                    return Err(format!("node {number} kept a phantom of key {key}"));
                }
                for (peer, heard) in node.counters(key).1 {
                    let owner = self.nodes[usize::from(peer.get()) - 1].as_ref();
                    let said = owner.map_or(0, |owner| owner.counters(key).0);
                    if said > 0 && heard != said && owner.is_some_and(|owner| owner.used(key) > 0) {
                        return Err(format!(
                            "key {key}: node {number} heard {heard} of node {peer}, which counts {said}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
