//! What replication costs: nanoseconds an entry on either side, and bytes on the wire a changed bucket.
//!
//! Two nodes in memory, with real tables, replicas and links; only the network is left out. Each round charges
//! buckets drawn at random on one node and lets it tell the other.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::keys::{Random, key};
use common::process::thread_cpu_ns;
use common::{Size, ours};
use openclaw_rating::bucket::hash::BucketId;
use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::bucket::table::{BucketTable, ChangeLog, OnTableFull, TableConfig};
use openclaw_rating::link::keys::Secret;
use openclaw_rating::link::{Link, LinkConfig, MAX_DATAGRAM_BYTES, PeerAddress, PeerCounters};
use openclaw_rating::replica::{NodeId, Replica, ReplicaConfig};
use openclaw_rating::time::MonotonicNs;

const ROUNDS: usize = 41;
/// Buckets charged in a round at most; fewer than a flush looks at.
const CHARGES: usize = 49_152;
const FLUSH: Duration = Duration::from_millis(20);
const DETECT: Duration = Duration::from_millis(500);
/// More than a flush has.
const MAX_DATAGRAMS: usize = 4096;
/// Flushes in which two nodes meet and the sync of a small table is served.
const MEETING: usize = 2_000;
/// What IPv6 and UDP add to a datagram.
const OVERHEAD_BYTES: u64 = 48;
const NANOSECONDS_GOAL: f64 = 60.0;
const BYTES_GOAL: f64 = 40.0;

type Datagram = ([u8; MAX_DATAGRAM_BYTES], usize);

fn node_id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 7000))
}

/// One of the two nodes.
struct Node {
    number: u8,
    table: Arc<BucketTable>,
    log: ChangeLog,
    policies: Arc<PolicySet>,
    replica: Replica,
    link: Link,
    /// Buffers taken at the start, the first of which hold the datagrams that were sent.
    buffers: Vec<Datagram>,
    sent: usize,
}

impl Node {
    fn new(number: u8, size: Size, now: MonotonicNs) -> Self {
        let policies = Arc::new(ours::policies());
        let table = BucketTable::new(TableConfig { lines: size.lines, on_full: OnTableFull::Allow }).unwrap();
        let mut table = table.replicated(1000);
        let log = table.take_logs(1).pop().unwrap();
        let table = Arc::new(table);
        table.publish_limits(&policies);
        let (own, peer) = (node_id(number), 3 - number);
        let config = ReplicaConfig { node: own, peers: vec![node_id(peer)], detect_timeout: DETECT };
        let replica = Replica::new(&config, Arc::clone(&table), Arc::clone(&policies), now).unwrap();
        let config = LinkConfig {
            node: own,
            secret: Secret::new([7; 32]),
            peers: vec![PeerAddress { node: node_id(peer), address: address(peer) }],
            flush_interval: FLUSH,
            detect_timeout: DETECT,
            max_bytes_per_second: 1 << 40,
        };
        let link = Link::new(&config, [number; 32], size.lines as u32, now).unwrap();
        Self {
            number,
            table,
            log,
            policies,
            replica,
            link,
            buffers: vec![([0; MAX_DATAGRAM_BYTES], 0); MAX_DATAGRAMS],
            sent: 0,
        }
    }

    fn charge(&self, ids: &[BucketId], now: MonotonicNs) {
        let limits = self.policies.iter().next().unwrap().default_limits();
        let charger = self.table.charger(Some(&self.log));
        ids.iter().for_each(|id| assert!(charger.charge(*id, limits, 1, now).allowed));
    }

    /// One flush.
    fn transmit(&mut self, now: MonotonicNs) {
        self.sent = 0;
        for (out, length) in &mut self.buffers {
            let Some((_, bytes)) = self.link.poll_transmit(now, &mut self.replica, out) else { return };
            *length = bytes;
            self.sent += 1;
        }
        panic!("more than {MAX_DATAGRAMS} datagrams in a flush");
    }

    /// Takes what the other node has sent.
    fn receive(&mut self, other: &mut Self, now: MonotonicNs) {
        for (datagram, bytes) in &mut other.buffers[..other.sent] {
            let from = address(other.number);
            self.link.handle_datagram(now, from, &mut datagram[..*bytes], &mut self.replica);
        }
    }

    fn counters(&self) -> PeerCounters {
        self.link.peer_stats().next().unwrap().counters
    }
}

/// Of one round: nanoseconds and bytes an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    send: f64,
    receive: f64,
    acknowledge: f64,
    bytes: f64,
}

/// Two nodes that have met.
struct Pair {
    nodes: [Node; 2],
    ids: Vec<BucketId>,
    random: Random,
    now: MonotonicNs,
}

impl Pair {
    fn new(size: Size) -> Self {
        let now = MonotonicNs(1_000_000_000);
        let nodes = [1, 2].map(|number| Node::new(number, size, now));
        let policies = &nodes[0].policies;
        let policy = policies.iter().next().unwrap();
        let ids = (0..size.keys()).map(|number| policies.bucket_id(policy, &key(number))).collect();
        let mut pair = Self { nodes, ids, random: Random::new(3), now };
        pair.nodes[0].charge(&pair.ids, now);
        (0..MEETING).for_each(|_| _ = pair.flush());
        let told = pair.nodes[0].link.peer_stats().next().unwrap();
        assert!(told.connected && told.synced && told.pending == 0, "{told:?}");
        pair
    }

    /// One flush of both nodes; the nanoseconds that sending, receiving and acknowledging took.
    fn flush(&mut self) -> [f64; 3] {
        self.now = self.now.after(FLUSH);
        let (now, [a, b]) = (self.now, &mut self.nodes);
        let send = nanoseconds(|| a.transmit(now));
        let receive = nanoseconds(|| b.receive(a, now));
        let acknowledge = nanoseconds(|| {
            b.transmit(now);
            a.receive(b, now);
        });
        [send, receive, acknowledge]
    }

    fn round(&mut self) -> Round {
        let drawn: Vec<BucketId> = if self.ids.len() <= CHARGES {
            self.ids.clone()
        } else {
            (0..CHARGES).map(|_| self.ids[self.random.below(self.ids.len())]).collect()
        };
        self.nodes[0].charge(&drawn, self.now);
        let before = self.nodes[0].counters();
        let times = self.flush();
        let after = self.nodes[0].counters();
        let entries = (after.entries_sent - before.entries_sent) as f64;
        let datagrams = after.datagrams_sent - before.datagrams_sent;
        let bytes = after.bytes_sent - before.bytes_sent + OVERHEAD_BYTES * datagrams;
        let [send, receive, acknowledge] = times.map(|ns| ns / entries);
        Round { send, receive, acknowledge, bytes: bytes as f64 / entries }
    }
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let start = thread_cpu_ns();
    work();
    (thread_cpu_ns() - start) as f64
}

fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(name: &str, value: f64, goal: f64) {
    let verdict = if value <= goal { "holds" } else { "MISSED" };
    println!("| {name} | {value:.1} | ≤ {goal:.0} | {verdict} |");
}

fn measure(size: Size) {
    let mut pair = Pair::new(size);
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| pair.round()).collect();
    let name = size.name;
    print(
        &format!("{name} keys: read, encode, seal, ns an entry"),
        median(&rounds, |r| r.send),
        NANOSECONDS_GOAL,
    );
    let receive = median(&rounds, |r| r.receive);
    print(&format!("{name} keys: open, check, merge, ns an entry"), receive, NANOSECONDS_GOAL);
    println!(
        "| {name} keys: acknowledging, both sides, ns an entry | {:.2} | | |",
        median(&rounds, |r| r.acknowledge)
    );
    print(
        &format!("{name} keys: bytes on the wire a changed bucket"),
        median(&rounds, |r| r.bytes),
        BYTES_GOAL,
    );
}

fn main() {
    // `cargo test --benches` runs this too, to see that it starts.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!("Medians of {ROUNDS} rounds of up to {CHARGES} changed buckets; processor time.\n");
    println!("| what | | goal | |\n|---|---|---|---|");
    let [small, large, _] = Size::ALL;
    [small, large].into_iter().for_each(measure);
}
