//! The replication link: what nodes tell each other of their buckets, over datagrams that anyone may
//! read, drop, repeat, reorder or forge.
//!
//! Without IO and without a clock: bytes and time come in, bytes and a deadline come out. [`Link`] speaks
//! with all peers of a node. Everything it needs is taken at the start; a datagram allocates nothing.
//!
//! * `seal`, `keys`: datagrams are sealed, and nothing is parsed before it has opened.
//! * `session`, `replay`: which boot of a peer is believed, and that nothing is heard twice.
//! * `wire`, `level`: what a datagram says.
//! * `outbox`, `pending`, `urgency`, `sync`, `batch`: what a peer is still to be told of.
//! * `ack`, `rtt`, `budget`, `liveness`: what has arrived, and what may be sent when.
//!
//! A peer's datagrams may come from any address; answers go to the address it is configured with.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod keys;
pub mod stats;

mod ack;
mod batch;
mod budget;
mod level;
mod liveness;
mod outbox;
mod peer;
mod pending;
mod replay;
mod rtt;
mod seal;
mod session;
mod sync;
mod urgency;
mod wire;

#[cfg(all(test, not(loom)))]
mod pipe;
#[cfg(all(test, not(loom)))]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use batch::Batch;
use keys::{KeySchedule, Random, Secret};
use peer::{Origin, Peer};
use seal::Envelope;

use crate::replica::{MAX_NODES, NodeId, Store};
use crate::time::MonotonicNs;

pub use seal::{MAX_DATAGRAM_BYTES, VERSION};
pub use stats::{Contact, ConvergenceLag, PeerCounters, PeerStats, Rejected, Rejections};

/// What a heartbeat takes on the wire: envelope, header, an acknowledgement word or two, tag, IPv6 and UDP.
pub const HEARTBEAT_BYTES: u64 = 160;
const _: () = assert!(
    HEARTBEAT_BYTES
        >= (seal::ENVELOPE_BYTES + wire::HEADER_BYTES + 2 * 8 + seal::TAG_BYTES) as u64
            + budget::OVERHEAD_BYTES
);

/// Another node, and where its datagrams arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its number.
    pub node: NodeId,
    /// Where datagrams to it go.
    pub address: SocketAddr,
}

/// Who this node is, and whom it speaks with.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// This node.
    pub node: NodeId,
    /// What all nodes of the cluster know.
    pub secret: Secret,
    /// The others, at most 15.
    pub peers: Vec<PeerAddress>,
    /// Between two flushes.
    pub flush_interval: Duration,
    /// A peer that is silent for so long is absent.
    pub detect_timeout: Duration,
    /// Most bytes sent to one peer in a second, with what IPv6 and UDP add to them. Heartbeats pass it and count:
    /// below [`HEARTBEAT_BYTES`] a flush interval, there is room for nothing else.
    pub max_bytes_per_second: u64,
}

/// Why there can be no link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// More nodes than a cluster has.
    #[error("{0} nodes in the cluster, but at most {MAX_NODES} are supported")]
    TooManyNodes(usize),
    /// Two nodes of one number.
    #[error("two nodes of the cluster have the id {0}")]
    Duplicate(NodeId),
    /// Without time between them flushes would never end.
    #[error("the flush interval is zero")]
    NoInterval,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// It was heard.
    Accepted {
        /// Its sender.
        from: NodeId,
        /// How many entries it had.
        entries: u32,
    },
    /// It moved nothing, and is counted.
    Rejected(Rejected),
}

/// The links of a node to its peers.
#[derive(Debug)]
pub struct Link {
    origin: Origin,
    random: Random,
    peers: Vec<Peer>,
    flush_interval: Duration,
    next_flush: MonotonicNs,
    /// When changes were last drained: what the next drain finds has changed since.
    drained_at: MonotonicNs,
    /// The peer whose turn it is in this flush; one past the last when the flush is over.
    turn: usize,
    batch: Batch,
    rejected: Rejections,
    duplicate_nodes: u64,
    last_now: MonotonicNs,
}

impl Link {
    /// A link for a table of `lines`. The `seed` must be random, and another at each start: with a seed used
    /// twice, the seal is broken.
    ///
    /// # Errors
    /// When there are too many nodes, two of one id, or no time between flushes.
    pub fn new(config: &LinkConfig, seed: [u8; 32], lines: u32, now: MonotonicNs) -> Result<Self, LinkError> {
        check(config)?;
        let mut random = Random::new(seed);
        let schedule = KeySchedule::new(&config.secret);
        let (cluster, salt) = (schedule.cluster_tag(), random.salt());
        let origin = Origin { node: config.node, schedule, cluster, salt };
        let peers = config.peers.iter();
        let peers: Vec<_> =
            peers.map(|peer| Peer::new(peer, config, &origin, &mut random, lines, now)).collect();
        Ok(Self {
            origin,
            random,
            turn: peers.len(),
            peers,
            flush_interval: config.flush_interval,
            next_flush: now,
            drained_at: now,
            batch: Batch::new(),
            rejected: Rejections::default(),
            duplicate_nodes: 0,
            last_now: now,
        })
    }

    /// Takes a datagram and opens it in place. Pass in all that have arrived before calling
    /// [`poll_transmit`](Self::poll_transmit), or a peer whose datagrams wait in the socket is taken for absent.
    pub fn handle_datagram(
        &mut self,
        now: MonotonicNs,
        from: SocketAddr,
        datagram: &mut [u8],
        store: &mut dyn Store,
    ) -> Handled {
        self.follow_clock(now);
        let (envelope, column) = match self.address(datagram) {
            Ok(addressed) => addressed,
            Err(rejected) => {
                self.rejected.add(rejected);
                return Handled::Rejected(rejected);
            }
        };
        let peer = &mut self.peers[column];
        let signs = peer.duplicate_nodes();
        let received = peer.receive(&envelope, datagram, &self.origin, &mut self.random, store, now);
        self.duplicate_nodes += peer.duplicate_nodes() - signs;
        match received {
            Ok(entries) => {
                if !is_same_host(from, peer.address) {
                    peer.note_elsewhere();
                }
                Handled::Accepted { from: peer.node, entries }
            }
            Err(rejected) => {
                peer.reject(rejected);
                Handled::Rejected(rejected)
            }
        }
    }

    /// The envelope of a datagram for this node, and the position of the peer it names.
    fn address(&self, datagram: &[u8]) -> Result<(Envelope, usize), Rejected> {
        let envelope = Envelope::read(datagram, self.origin.cluster)?;
        if envelope.to != self.origin.node.get() {
            return Err(Rejected::NotForThisNode { to: envelope.to });
        }
        let column = self.peers.iter().position(|peer| peer.node.get() == envelope.from);
        column.map(|column| (envelope, column)).ok_or(Rejected::UnknownNode { from: envelope.from })
    }

    /// Writes the next datagram that is due, and returns its destination and length. Call it until it returns
    /// `None`. A datagram that cannot be sent may be dropped: it counts as lost and is sent again.
    pub fn poll_transmit(
        &mut self,
        now: MonotonicNs,
        store: &mut dyn Store,
        out: &mut [u8; MAX_DATAGRAM_BYTES],
    ) -> Option<(SocketAddr, usize)> {
        self.follow_clock(now);
        if self.turn >= self.peers.len() && now >= self.next_flush {
            self.begin_flush(now, store);
        }
        while let Some(peer) = self.peers.get_mut(self.turn) {
            if let Some(bytes) = peer.transmit(&self.origin, &mut self.batch, store, out, now) {
                return Some((peer.address, bytes));
            }
            self.turn += 1;
        }
        None
    }

    /// Begins the next flush right after the one under way, without waiting for the interval.
    ///
    /// The one under way is not cut short: the entries it has gathered are for the peer whose turn it is.
    pub const fn flush_now(&mut self, now: MonotonicNs) {
        self.next_flush = now;
    }

    fn begin_flush(&mut self, now: MonotonicNs, store: &mut dyn Store) {
        let Self { peers, drained_at, .. } = self;
        store.drain_changed(now, &mut |changed| {
            for peer in &mut *peers {
                peer.changed(changed, *drained_at);
            }
        });
        self.drained_at = now;
        for peer in &mut self.peers {
            peer.begin_flush(store, now);
        }
        self.turn = 0;
        let due = self.next_flush.after(self.flush_interval);
        self.next_flush = if due > now { due } else { now.after(self.flush_interval) };
    }

    /// When the clock goes back, the next flush must not be late by as much.
    fn follow_clock(&mut self, now: MonotonicNs) {
        if now < self.last_now {
            self.next_flush = self.next_flush.min(now.after(self.flush_interval));
            self.drained_at = self.drained_at.min(now);
        }
        self.last_now = now;
    }

    /// When to call [`poll_transmit`](Self::poll_transmit) next. After that has returned `None` this is in the
    /// future, unless [`flush_now`](Self::flush_now) was called.
    #[must_use]
    pub fn next_deadline(&self) -> MonotonicNs {
        if self.turn < self.peers.len() { self.last_now } else { self.next_flush }
    }

    /// The peers, in the order of the configuration.
    pub fn peer_stats(&self) -> impl Iterator<Item = PeerStats> {
        self.peers.iter().map(|peer| peer.stats(self.last_now))
    }

    /// Whether a peer has not acknowledged the latest change of a line.
    #[must_use]
    pub fn awaits(&self, node: NodeId, line: u32) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.awaits(line))
    }

    /// Signs of two nodes of one number, of all peers since the start.
    #[must_use]
    pub const fn duplicate_nodes(&self) -> u64 {
        self.duplicate_nodes
    }

    /// The peers, and how each of them and this node hear each other.
    pub fn contacts(&self) -> impl Iterator<Item = (NodeId, Contact)> {
        self.peers.iter().map(|peer| (peer.node, peer.contact()))
    }

    /// Datagrams rejected that name no peer.
    #[must_use]
    pub const fn rejected(&self) -> &Rejections {
        &self.rejected
    }
}

fn check(config: &LinkConfig) -> Result<(), LinkError> {
    if config.peers.len() >= MAX_NODES {
        return Err(LinkError::TooManyNodes(config.peers.len() + 1));
    }
    if config.flush_interval.is_zero() {
        return Err(LinkError::NoInterval);
    }
    let mut seen = vec![config.node];
    for peer in &config.peers {
        if seen.contains(&peer.node) {
            return Err(LinkError::Duplicate(peer.node));
        }
        seen.push(peer.node);
    }
    Ok(())
}

/// Whether two addresses are one, an IPv4 address also as a dual-stack socket shows it.
fn is_same_host(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
