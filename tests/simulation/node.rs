//! One node of the simulated cluster: real table, replica and link, on a clock of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openclaw_rating::bucket::hash::{BucketId, KeyHasher};
use openclaw_rating::bucket::policy::{LimitSpec, Limits, PolicySet, PolicySpec};
use openclaw_rating::bucket::sharing::{Consistency, Sharing};
use openclaw_rating::bucket::table::{BucketTable, OnTableFull, TableConfig};
use openclaw_rating::link::keys::Secret;
use openclaw_rating::link::{Handled, Link, LinkConfig, MAX_DATAGRAM_BYTES, PeerAddress, PeerStats};
use openclaw_rating::replica::{NodeId, Replica, ReplicaConfig};
use openclaw_rating::time::MonotonicNs;

use crate::witness::Witness;

const LINES: usize = 64;
const DETECT: Duration = Duration::from_millis(500);
/// More than there is to say.
const BYTES_PER_SECOND: u64 = 50_000_000;
const FIRST_PORT: u16 = 7000;
const POLICY: &str = "p";

/// What a node starts with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) number: usize,
    pub(crate) nodes: usize,
    pub(crate) limit: LimitSpec,
    pub(crate) sharing: Sharing,
    pub(crate) keys: usize,
    pub(crate) drift_ppm: i64,
    pub(crate) flush_ms: u64,
    /// Of the scenario: with it and the life, the random numbers of the link.
    pub(crate) seed: u64,
}

/// A node in one life.
#[derive(Debug)]
pub(crate) struct Node {
    settings: Settings,
    pub(crate) life: u64,
    started_ns: u64,
    table: Arc<BucketTable>,
    pub(crate) witness: Witness,
    pub(crate) link: Link,
    ids: Vec<BucketId>,
    epoch_ms: u64,
}

/// Levels by bucket in 1/65536 of a token, as a snapshot has them.
pub(crate) type Snapshot = Vec<(BucketId, u64)>;

pub(crate) fn node_id(number: usize) -> NodeId {
    NodeId::new(number as u8 + 1).unwrap()
}

/// A policy as one of `nodes` has it: a strict one in part.
fn spec(name: &str, limit: LimitSpec, sharing: Sharing, nodes: usize) -> PolicySpec {
    PolicySpec { sharing, ..PolicySpec::new(name, limit) }.part_of(nodes as u8).unwrap()
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + number as u16))
}

fn link(settings: &Settings, node: NodeId, peers: &[NodeId], life: u64, now: MonotonicNs) -> Link {
    let peer = |peer: &NodeId| PeerAddress { node: *peer, address: address(usize::from(peer.get()) - 1) };
    let config = LinkConfig {
        node,
        secret: Secret::new([7; 32]),
        peers: peers.iter().map(peer).collect(),
        flush_interval: Duration::from_millis(settings.flush_ms),
        detect_timeout: DETECT,
        max_bytes_per_second: BYTES_PER_SECOND,
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&settings.seed.to_le_bytes());
    seed[8..16].copy_from_slice(&life.to_le_bytes());
    Link::new(&config, seed, LINES as u32, now).unwrap()
}

impl Node {
    /// Starts at `world_ns`, with an epoch above all that were used before.
    pub(crate) fn start(
        settings: Settings,
        life: u64,
        epoch_ms: u64,
        world_ns: u64,
        snapshot: &Snapshot,
    ) -> Self {
        let now = MonotonicNs(0);
        let specs = [spec(POLICY, settings.limit, settings.sharing, settings.nodes)];
        let policies = Arc::new(PolicySet::new(&specs, &KeyHasher::new([7; 16]), now).unwrap());
        let table = BucketTable::new(TableConfig { lines: LINES, on_full: OnTableFull::Deny }).unwrap();
        let table = Arc::new(table.replicated(epoch_ms));
        table.publish_limits(&policies);
        let peers: Vec<NodeId> =
            (0..settings.nodes).filter(|peer| *peer != settings.number).map(node_id).collect();
        let id = node_id(settings.number);
        let config = ReplicaConfig { node: id, peers: peers.clone(), detect_timeout: DETECT };
        let replica = Replica::new(&config, Arc::clone(&table), Arc::clone(&policies), now).unwrap();
        let policy = policies.find(POLICY.as_bytes()).unwrap();
        let ids = (0..settings.keys).map(|key| policies.bucket_id(policy, &key.to_le_bytes())).collect();
        for (id, level) in snapshot {
            let limits = policy.default_limits();
            assert!(table.restore(*id, limits, limits.clock().from_fixed(*level), now));
        }
        let is_strict = settings.sharing.consistency == Consistency::Strict;
        let witness = Witness::new(replica, Arc::clone(&table), policies, DETECT, is_strict);
        let link = link(&settings, id, &peers, life, now);
        Self { settings, life, started_ns: world_ns, table, witness, link, ids, epoch_ms }
    }

    /// What the node sends now: to which, and the bytes.
    pub(crate) fn transmit(&mut self, world_ns: u64) -> Vec<(usize, Vec<u8>)> {
        let now = self.now(world_ns);
        let mut out = [0; MAX_DATAGRAM_BYTES];
        let next = || {
            let (to, bytes) = self.link.poll_transmit(now, &mut self.witness, &mut out)?;
            Some((usize::from(to.port() - FIRST_PORT), out[..bytes].to_vec()))
        };
        std::iter::from_fn(next).collect()
    }

    pub(crate) fn handle(&mut self, from: usize, datagram: &mut [u8], world_ns: u64) -> Handled {
        let now = self.now(world_ns);
        self.link.handle_datagram(now, address(from), datagram, &mut self.witness)
    }

    /// What is wrong with the link when nothing has happened for long.
    pub(crate) fn unrest(&self) -> Option<String> {
        let is_quiet = |peer: &PeerStats| {
            peer.present
                && !peer.deaf
                && peer.connected
                && peer.synced
                && peer.pending == 0
                && peer.in_flight == 0
        };
        let peer = self.link.peer_stats().find(|peer| !is_quiet(peer))?;
        Some(format!("has a link to node {} that is not at rest: {peer:?}", peer.node))
    }

    /// The node's monotonic clock, which is fast or slow by its drift.
    pub(crate) fn now(&self, world_ns: u64) -> MonotonicNs {
        let elapsed = i128::from(world_ns - self.started_ns);
        MonotonicNs((elapsed + elapsed * i128::from(self.settings.drift_ppm) / 1_000_000) as u64)
    }

    /// What a later life must begin its counts above.
    pub(crate) fn epoch_reached_ms(&self, world_ns: u64) -> u64 {
        self.epoch_ms + self.now(world_ns).0 / 1_000_000 + 1
    }

    fn limits(&self) -> Option<&Limits> {
        Some(self.witness.policies.find(POLICY.as_bytes())?.default_limits())
    }

    /// Whether `cost` tokens of a key may be spent; `None` while the node has no such policy.
    pub(crate) fn check(&self, key: usize, cost: u64, world_ns: u64) -> Option<bool> {
        let limits = self.limits()?;
        Some(self.table.charge(self.ids[key], limits, cost.min(limits.burst()), self.now(world_ns)).allowed)
    }

    /// The same policy with another limit from now on, or none at all.
    pub(crate) fn reload(&mut self, limit: Option<LimitSpec>, world_ns: u64) {
        let Settings { sharing, nodes, .. } = self.settings;
        let other = spec("other", self.settings.limit, Sharing::default(), nodes);
        let specs = limit.map(|limit| spec(POLICY, limit, sharing, nodes)).into_iter().chain([other]);
        let specs: Vec<PolicySpec> = specs.collect();
        let policies = self.witness.policies.reload(&specs, self.now(world_ns)).unwrap();
        self.witness.set_policies(Arc::new(policies));
    }

    pub(crate) fn burst(&self) -> u64 {
        self.limits().map_or(0, Limits::burst)
    }

    /// This node's counter of a key and those it heard.
    pub(crate) fn counters(&self, key: usize) -> (u64, Vec<(NodeId, u64)>) {
        self.witness
            .replica
            .line(self.ids[key])
            .map_or((0, vec![]), |line| self.witness.replica.counters(line))
    }

    /// Tokens of a key that this life has admitted.
    pub(crate) fn used(&self, key: usize) -> u64 {
        self.witness.view(self.ids[key]).map_or(0, |view| view.count - view.start)
    }

    pub(crate) fn phantom(&self, key: usize) -> u64 {
        self.witness.view(self.ids[key]).map_or(0, |view| view.phantom.standing() + view.phantom.drained())
    }

    pub(crate) fn key_of(&self, id: BucketId) -> usize {
        self.ids.iter().position(|known| *known == id).unwrap()
    }

    pub(crate) fn snapshot(&self, world_ns: u64) -> Snapshot {
        let now = self.now(world_ns);
        let level = |id: &BucketId| {
            let view = self.witness.view(*id)?;
            let clock = self.witness.policies.slot(view.slot)?.clock();
            Some((*id, clock.to_fixed(view.tat.saturating_sub(clock.at(now)))))
        };
        self.ids.iter().filter_map(level).collect()
    }
}
