//! Nodes in memory, joined by a pipe that loses, repeats, reorders and delays: the ground of the tests.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::keys::Secret;
use super::{Handled, Link, LinkConfig, MAX_DATAGRAM_BYTES, PeerAddress};
use crate::bucket::hash::BucketId;
use crate::bucket::table::Change;
use crate::replica::{Arrival, Entry, NodeId, Store, Telling};
use crate::time::MonotonicNs;

pub(super) const FLUSH: Duration = Duration::from_millis(20);
pub(super) const DETECT: Duration = Duration::from_millis(500);
const STEP_NS: u64 = 1_000_000;

pub(super) fn node(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 7000))
}

pub(super) fn config(number: u8, nodes: u8) -> LinkConfig {
    let others = (1..=nodes).filter(|other| *other != number);
    LinkConfig {
        node: node(number),
        secret: Secret::new([42; 32]),
        peers: others.map(|other| PeerAddress { node: node(other), address: address(other) }).collect(),
        flush_interval: FLUSH,
        detect_timeout: DETECT,
        max_bytes_per_second: 50_000_000,
    }
}

/// Counters in memory: line `n` is bucket `n`, of policy `n % 3`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) counts: Vec<u64>,
    changed: BTreeSet<u32>,
    pub(super) heard: BTreeMap<(u8, u32), u64>,
    /// Growth charged, by sender and line.
    pub(super) charged: BTreeMap<(u8, u32), u64>,
    pub(super) order: Vec<u32>,
    pub(super) present: BTreeMap<u8, bool>,
    /// Boots that were met.
    pub(super) started: BTreeMap<u8, u64>,
    pub(super) synced: BTreeSet<u8>,
    pub(super) urgent: BTreeSet<u32>,
}

impl Counters {
    pub(super) fn new(lines: u32) -> Self {
        Self { counts: vec![0; lines as usize], ..Self::default() }
    }

    pub(super) fn charge(&mut self, line: u32, tokens: u64) {
        self.counts[line as usize] += tokens;
        self.changed.insert(line);
    }
}

impl Store for Counters {
    fn lines(&self) -> u32 {
        self.counts.len() as u32
    }

    fn drain_changed(&mut self, _now: MonotonicNs, changed: &mut dyn FnMut(&[Change])) {
        let drained = std::mem::take(&mut self.changed).into_iter();
        drained.for_each(|line| changed(&[Change { line, is_urgent: self.urgent.contains(&line) }]));
    }

    fn tell(&mut self, lines: &[u32], _: Telling, _now: MonotonicNs, said: &mut Vec<(u32, Entry)>) {
        for line in lines {
            let (count, id) = (self.counts[*line as usize], BucketId::from_u128(u128::from(*line) + 1));
            if count > 0 {
                said.push((*line, Entry { policy: u64::from(line % 3), id, count, used: count, level: 1 }));
            }
        }
    }

    fn urgencies(&self, lines: &[u32], _now: MonotonicNs, each: &mut dyn FnMut(u8)) {
        lines.iter().for_each(|line| each(if self.urgent.contains(line) { 250 } else { 3 }));
    }

    fn hear(&mut self, from: NodeId, entries: &[Entry], _arrival: Arrival, _now: MonotonicNs) {
        for entry in entries {
            let line = (entry.id.get() - 1) as u32;
            self.order.push(line);
            let heard = self.heard.entry((from.get(), line)).or_default();
            let growth = entry.count.saturating_sub(*heard);
            *heard += growth;
            *self.charged.entry((from.get(), line)).or_default() += growth;
        }
    }

    fn peer_started(&mut self, peer: NodeId) {
        *self.started.entry(peer.get()).or_default() += 1;
    }

    fn peer_present(&mut self, peer: NodeId, present: bool, _now: MonotonicNs) {
        self.present.insert(peer.get(), present);
    }

    fn peer_synced(&mut self, peer: NodeId, _now: MonotonicNs) {
        self.synced.insert(peer.get());
    }
}

/// What the pipe does, in percent, and how long it takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) damaged: u64,
    pub(super) truncated: u64,
    pub(super) delay_ms: u64,
    pub(super) jitter_ms: u64,
    pub(super) cut: bool,
}

#[derive(Debug)]
pub(super) struct Flying {
    at: MonotonicNs,
    from: SocketAddr,
    to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

/// Nodes 1, 2, … and what is on its way between them.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) nodes: Vec<(Link, Counters)>,
    flying: Vec<Flying>,
    /// All that was ever sent, to be sent again.
    pub(super) recorded: Vec<Flying>,
    pub(super) weather: Weather,
    /// Nothing that this node sends arrives.
    pub(super) silent: Option<u8>,
    pub(super) now: MonotonicNs,
    random: u64,
}

impl Cluster {
    pub(super) fn new(nodes: u8, lines: u32, weather: Weather, seed: u64) -> Self {
        let now = MonotonicNs(1_000_000_000);
        let make = |number| {
            let link = Link::new(&config(number, nodes), [number; 32], lines, now).unwrap();
            (link, Counters::new(lines))
        };
        let nodes = (1..=nodes).map(make).collect();
        Self { nodes, flying: vec![], recorded: vec![], weather, silent: None, now, random: seed | 1 }
    }

    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }

    /// Lets `duration` pass, a millisecond at a time.
    pub(super) fn run(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() {
            self.now = MonotonicNs(self.now.0 + STEP_NS);
            self.deliver();
            for at in 0..self.nodes.len() {
                self.transmit(at);
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flying).into_iter().partition(|flying| flying.at <= now);
        self.flying = later;
        due.sort_by_key(|flying| flying.at);
        for mut flying in due {
            let to = self.nodes.iter_mut().zip(1..).find(|(_, number)| address(*number) == flying.to);
            if let Some(((link, store), _)) = to {
                link.handle_datagram(now, flying.from, &mut flying.bytes, store);
            }
        }
    }

    fn transmit(&mut self, at: usize) {
        let mut out = [0; MAX_DATAGRAM_BYTES];
        let from = address(at as u8 + 1);
        let mut polls = 0;
        loop {
            let (link, store) = &mut self.nodes[at];
            let Some((to, length)) = link.poll_transmit(self.now, store, &mut out) else { break };
            polls += 1;
            assert!(polls < 100_000, "a flush ends");
            self.fly(from, to, &out[..length]);
        }
        assert!(self.nodes[at].0.next_deadline() > self.now, "a deadline lies ahead");
    }

    fn fly(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.recorded.push(Flying { at: self.now, from, to, bytes: bytes.to_vec() });
        let weather = self.weather;
        let copies = 1 + u64::from(self.draw(100) < weather.repeated);
        for _ in 0..copies {
            let silent = self.silent.is_some_and(|number| from == address(number));
            if weather.cut || silent || self.draw(100) < weather.lost {
                continue;
            }
            let mut bytes = bytes.to_vec();
            if self.draw(100) < weather.damaged {
                let at = self.draw(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.draw(8);
            }
            if self.draw(100) < weather.truncated {
                bytes.truncate(self.draw(bytes.len() as u64) as usize);
            }
            let delay_ms = weather.delay_ms + self.draw(weather.jitter_ms + 1);
            let at = self.now.after(Duration::from_millis(delay_ms));
            self.flying.push(Flying { at, from, to, bytes });
        }
    }

    /// Hands a datagram to a node.
    pub(super) fn hand(&mut self, to: u8, bytes: &[u8]) -> Handled {
        let (link, store) = &mut self.nodes[usize::from(to) - 1];
        link.handle_datagram(self.now, address(99), &mut bytes.to_vec(), store)
    }

    /// A datagram that was sent from one node to another.
    pub(super) fn recorded(&self, from: u8, to: u8) -> Vec<u8> {
        let sent =
            self.recorded.iter().rev().find(|sent| sent.from == address(from) && sent.to == address(to));
        sent.unwrap().bytes.clone()
    }

    /// A node stops and starts with nothing.
    pub(super) fn restart(&mut self, number: u8, seed: u8) {
        let lines = self.nodes[0].1.lines();
        let link = Link::new(&config(number, self.nodes.len() as u8), [seed; 32], lines, self.now).unwrap();
        self.nodes[usize::from(number) - 1] = (link, Counters::new(lines));
    }

    /// Asserts that each node has heard, and charged once, all that the others counted.
    pub(super) fn assert_converged(&self) {
        for ((_, store), number) in self.nodes.iter().zip(1_u8..) {
            for ((_, other), sender) in self.nodes.iter().zip(1_u8..).filter(|(_, sender)| *sender != number)
            {
                for (line, count) in other.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    let charged = store.charged.get(&(sender, line as u32));
                    assert_eq!(charged, Some(count), "line {line} of node {sender} at node {number}");
                }
            }
        }
    }
}
