//! What replication is made of, from the configuration.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::warn;

use crate::bucket::policy::PolicySet;
use crate::bucket::table::BucketTable;
use crate::config::ClusterConfig;
use crate::control_plane::{Joined, ReplicationError, ReplicationParts};
use crate::health::Health;
use crate::link::keys::Secret;
use crate::link::{Link, LinkConfig, LinkError, PeerAddress};
use crate::replica::{Replica, ReplicaConfig, ReplicaError};
use crate::time::{Clock as _, MonotonicNs, SystemClock};

/// Why this node cannot share its limits.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Socket(#[from] ReplicationError),
}

/// The link to the peers and what hearing them does, once it is known what they know.
pub(super) fn join(
    cluster: &ClusterConfig,
    table: &Arc<BucketTable>,
    policies: &Arc<ArcSwap<PolicySet>>,
    health: &Arc<Health>,
    clock: SystemClock,
) -> Result<ReplicationParts, PrepareError> {
    let mut parts = prepare(cluster, table, policies, health, clock.now())?;
    if parts.join(clock) == Joined::InPart {
        warn!("some peers have not told all they know in time; what comes late is charged when it comes");
    }
    Ok(parts)
}

/// The same, with the socket bound and nothing heard.
fn prepare(
    cluster: &ClusterConfig,
    table: &Arc<BucketTable>,
    policies: &Arc<ArcSwap<PolicySet>>,
    health: &Arc<Health>,
    now: MonotonicNs,
) -> Result<ReplicationParts, PrepareError> {
    let replica = ReplicaConfig {
        node: cluster.node,
        peers: cluster.peers.iter().map(|peer| peer.id).collect(),
        detect_timeout: cluster.detect_timeout,
    };
    let replica = Replica::new(&replica, Arc::clone(table), policies.load_full(), now)?;
    let link = LinkConfig {
        node: cluster.node,
        secret: Secret::new(*cluster.secret.bytes()),
        peers: cluster
            .peers
            .iter()
            .map(|peer| PeerAddress { node: peer.id, address: peer.address })
            .collect(),
        flush_interval: cluster.flush_interval,
        detect_timeout: cluster.detect_timeout,
        max_bytes_per_second: cluster.max_bytes_per_second,
    };
    let lines = u32::try_from(table.len_lines()).unwrap_or(u32::MAX);
    let link = Link::new(&link, rand::random(), lines, now)?;
    Ok(ReplicationParts::new(cluster, link, replica, Arc::clone(policies), Arc::clone(health))?)
}
