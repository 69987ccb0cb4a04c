//! The shared state of a cluster: what one node says of its buckets, and what hearing it does.
//!
//! Each node owns one monotone counter a bucket, the tokens it ever admitted: an entry of a grow-only
//! counter (Shapiro, Preguiça, Baquero, Zawirski 2011). State merges by pointwise maximum, which is
//! idempotent, commutative and associative; a node charges the growth of each counter, once, to its own
//! level. Nothing here does IO or reads a clock, and no wall clock is compared between nodes: levels
//! travel as tokens, counts as counts.

mod ahead;
mod directory;
mod hear;
mod node;
mod presence;
mod rule;
mod shares;

#[cfg(all(test, not(loom)))]
mod node_tests;

use crate::bucket::hash::BucketId;
use crate::bucket::table::Change;
use crate::time::MonotonicNs;

pub use ahead::Ahead;
pub use node::{Replica, ReplicaConfig, ReplicaError, ReplicaStats};

/// Most nodes in a cluster.
pub const MAX_NODES: usize = 16;
/// Most entries that are heard at once: as many as a datagram has.
pub const MAX_ENTRIES_HEARD: usize = 35;

/// The number of a node in its cluster: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u8);

impl NodeId {
    /// The largest number there is.
    pub const MAX: u8 = 64;

    /// The node of that number; `None` outside 1 to 64.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number >= 1 && number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What a node says of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The limits it is counted in: a hash of the policy's name, and of an override's keys
    /// ([`Owner::limits`](crate::bucket::policy::Owner::limits)).
    pub policy: u64,
    /// The bucket.
    pub id: BucketId,
    /// Whole tokens that the sender ever admitted, counted from an epoch of its own. Never falls.
    pub count: u64,
    /// How many of them since its bucket was made; at most `count`.
    pub used: u64,
    /// The sender's level, in 1/65536 of a token: what has been used and has not drained.
    pub level: u64,
}

/// On what occasion a node says something of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The bucket has changed.
    Change,
    /// A peer has asked for all there is, or the sweep that repairs came by.
    Review,
}

/// On what occasion a node says something of a bucket, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// The occasion.
    pub occasion: Occasion,
    /// The peer has started and not heard all there is yet, so it may take this node's level for its own.
    pub to_joining: bool,
}

/// On what occasion an entry was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The bucket changed, or the sweep that repairs came by.
    Delta,
    /// This node has restarted and asked for all there is: of a bucket that it has not heard of, it takes
    /// the sender's level for its own.
    Sync,
}

/// Who sent an entry, on what occasion, and when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its sender.
    pub from: NodeId,
    /// The occasion.
    pub arrival: Arrival,
    /// The time of its arrival.
    pub now: MonotonicNs,
}

/// What an entry did to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The counter has grown by so many tokens since it was last heard, and they are charged.
    Charged(u64),
    /// Nothing new.
    Known,
    /// The first that is heard of the sender for this bucket; so many tokens are charged.
    FirstContact(u64),
    /// The sender's level is a lower bound of the level now.
    Adopted,
    /// This node has no such policy.
    UnknownPolicy,
    /// The sender is no peer of this node.
    UnknownNode,
    /// There is no room for the bucket; it will be a first contact again.
    TableFull,
}

/// The buckets of a node as the replication link sees them: lines of a table, numbered from zero.
pub trait Store {
    /// How many lines there are.
    fn lines(&self) -> u32;

    /// Calls `changed` with all lines that have changed their own count since the last call, and perhaps with others,
    /// some at a time.
    fn drain_changed(&mut self, now: MonotonicNs, changed: &mut dyn FnMut(&[Change]));

    /// Adds what this node says of `lines` to `said`, each with its line; of some there may be nothing to say.
    fn tell(&mut self, lines: &[u32], telling: Telling, now: MonotonicNs, said: &mut Vec<(u32, Entry)>);

    /// Calls `each` with how close each of these buckets is to its limit, 255 the closest.
    fn urgencies(&self, lines: &[u32], now: MonotonicNs, each: &mut dyn FnMut(u8));

    /// Merges what `from` says, at most [`MAX_ENTRIES_HEARD`] entries.
    fn hear(&mut self, from: NodeId, entries: &[Entry], arrival: Arrival, now: MonotonicNs);

    /// Another boot of a peer is believed: what is heard of the peer from now on was said by it.
    fn peer_started(&mut self, peer: NodeId);

    /// A peer has been silent for too long, or is heard again.
    fn peer_present(&mut self, peer: NodeId, present: bool, now: MonotonicNs);

    /// The full sync that this node asked of `peer` has arrived whole.
    fn peer_synced(&mut self, peer: NodeId, now: MonotonicNs);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_number_from_1_to_64() {
        assert!([0, 65, 255].into_iter().all(|number| NodeId::new(number).is_none()));
        assert!([1, 64].into_iter().all(|number| NodeId::new(number).is_some_and(|id| id.get() == number)));
    }
}
