//! What the targets have in common: a node of a cluster of two, with real buckets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openclaw_rating::bucket::hash::KeyHasher;
use openclaw_rating::bucket::policy::{LimitSpec, PolicySet, PolicySpec};
use openclaw_rating::bucket::table::{BucketTable, OnTableFull, TableConfig};
use openclaw_rating::link::keys::Secret;
use openclaw_rating::link::{Link, LinkConfig, MAX_DATAGRAM_BYTES, PeerAddress};
use openclaw_rating::replica::{NodeId, Replica, ReplicaConfig};
use openclaw_rating::time::MonotonicNs;

/// The name of the one policy.
pub const POLICY: &str = "p";
/// Few lines, so that they are soon contended for.
pub const LINES: usize = 64;
/// A peer silent for so long is absent.
pub const DETECT: Duration = Duration::from_millis(500);
const FLUSH: Duration = Duration::from_millis(20);

/// A node of that number.
pub fn node(number: u8) -> NodeId {
    NodeId::new(number).expect("the number is from 1 to 64")
}

/// The secret of the cluster.
pub fn secret() -> Secret {
    Secret::new([42; 32])
}

/// Where a node is to be reached.
pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 7000))
}

/// Policies with one limit, of `burst` tokens and as many a second.
pub fn specs(burst: u64) -> Vec<PolicySpec> {
    let limit = LimitSpec::per_second(burst, burst).expect("the rate is in range");
    vec![PolicySpec::new(POLICY, limit)]
}

/// A table for those policies.
pub fn table(policies: &PolicySet) -> BucketTable {
    let config = TableConfig { lines: LINES, on_full: OnTableFull::Allow };
    let table = BucketTable::new(config).expect("the table is small");
    table.publish_limits(policies);
    table
}

/// The link of one of the nodes 1 and 2.
pub fn link(own: u8, now: MonotonicNs) -> Link {
    let peer = 3 - own;
    let config = LinkConfig {
        node: node(own),
        secret: secret(),
        peers: vec![PeerAddress { node: node(peer), address: address(peer) }],
        flush_interval: FLUSH,
        detect_timeout: DETECT,
        max_bytes_per_second: 50_000_000,
    };
    Link::new(&config, [own; 32], LINES as u32, now).expect("the cluster is valid")
}

/// A node that replicates its table.
pub struct Replicating {
    /// Speaks with the other node.
    pub link: Link,
    /// What the link sees of the table.
    pub replica: Replica,
    /// The buckets.
    pub table: Arc<BucketTable>,
    /// The policies in force.
    pub policies: Arc<PolicySet>,
}

impl Replicating {
    /// Node `own` of 1 and 2.
    pub fn new(own: u8, now: MonotonicNs) -> Self {
        let policies = Arc::new(
            PolicySet::new(&specs(100), &KeyHasher::new([7; 16]), now).expect("the policies are valid"),
        );
        let table = Arc::new(table(&policies).replicated(1000));
        let config = ReplicaConfig { node: node(own), peers: vec![node(3 - own)], detect_timeout: DETECT };
        let replica = Replica::new(&config, Arc::clone(&table), Arc::clone(&policies), now);
        let replica = replica.expect("the cluster is valid");
        Self { link: link(own, now), replica, table, policies }
    }

    /// Limits of `burst` tokens from now on.
    pub fn reload(&mut self, burst: u64, now: MonotonicNs) {
        let Ok(policies) = self.policies.reload(&specs(burst), now) else { return };
        self.policies = Arc::new(policies);
        self.table.publish_limits(&self.policies);
        self.replica.set_policies(Arc::clone(&self.policies));
    }

    /// What the node sends now, which ends.
    pub fn transmit(&mut self, now: MonotonicNs) -> Vec<Vec<u8>> {
        let mut sent = vec![];
        let mut out = [0; MAX_DATAGRAM_BYTES];
        while let Some((_, bytes)) = self.link.poll_transmit(now, &mut self.replica, &mut out) {
            sent.push(out[..bytes].to_vec());
            assert!(sent.len() < 1000, "a flush of {LINES} lines ends");
        }
        assert!(self.link.next_deadline() > now);
        sent
    }
}
