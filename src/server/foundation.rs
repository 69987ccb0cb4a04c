//! What all planes stand on: policies, the buckets with what was kept of them, and what peers know.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam::channel::Sender;
use tracing::warn;

use super::{kept_tables, replication};
use crate::admin::InspectorParts;
use crate::bucket::hash::KeyHasher;
use crate::bucket::kept::KeptTable;
use crate::bucket::policy::{PolicyError, PolicySet, PolicySpec};
use crate::bucket::table::{BucketTable, ChangeLog, TableConfig, TableError};
use crate::config::{ClusterConfig, Config, StateConfig};
use crate::control_plane::{CoreHandles, Observed, ObservedParts, ReplicationParts, TellRequest};
use crate::durability::{self, Epoch, Found, Keeper, KeeperParts, Kept, Store};
use crate::health::{Health, Warning};
use crate::link::keys::{Secret, derive_hash_key};
use crate::metrics::{Published, Reloads};
use crate::service_manager::{HandedMemory, ServiceManager};
use crate::time::{Clock as _, SystemClock};

/// Why there is nothing to stand on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoundationError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Replication(#[from] replication::PrepareError),
}

/// The buckets as far as this node, its former lives and its peers know them.
pub(super) struct Foundation {
    pub(super) clock: SystemClock,
    pub(super) policies: Arc<ArcSwap<PolicySet>>,
    pub(super) table: Arc<BucketTable>,
    /// One for each data thread, where there are peers.
    pub(super) logs: Vec<ChangeLog>,
    pub(super) health: Arc<Health>,
    kept: Arc<Kept>,
    /// The peers, until the control plane takes them over.
    pub(super) replication: Option<ReplicationParts>,
    store: Option<Store>,
    epoch: Epoch,
    key_print: [u8; 16],
}

impl Foundation {
    /// Makes the table, and puts into it what was in memory or else in a snapshot, and what peers tell.
    pub(super) fn lay(
        config: &Config,
        health: &Arc<Health>,
        manager: &ServiceManager,
        handed: &[HandedMemory],
    ) -> Result<Self, FoundationError> {
        let clock = SystemClock::start();
        let specs = own_parts(&config.policies, config.cluster.as_ref())?;
        let mut found = open_state(config);
        let epoch = found.begin_epoch();
        health.warn(Warning::Snapshot, found.failed);
        let hash_key = hash_key(config, &found);
        let policies = PolicySet::new(&specs, &KeyHasher::new(hash_key), clock.now())?;
        let policies = Arc::new(ArcSwap::from_pointee(policies));
        let key_print = durability::key_print(&hash_key);
        let provenance = kept_tables::provenance(key_print, clock);
        let memory = kept_tables::create(manager, config.table.lines, &provenance);
        let mut table = new_table(config, &epoch, memory.clone())?;
        let logs = table.take_logs(config.server.threads);
        let table = Arc::new(table);
        if config.table.populate {
            populate(&table);
        }
        table.publish_limits(&policies.load());
        let kept = Arc::new(Kept::default());
        let is_restored = kept_tables::restore(handed, &provenance, &table, &policies.load(), &kept, clock);
        // What was in memory is newer than any snapshot.
        if let Some(directory) = found.directory().filter(|_| !is_restored) {
            durability::restore(directory, &table, &policies.load(), key_print, &kept, clock.now());
        }
        // What peers know is learned before the first check, or a restart would refill what is drained.
        let join = |cluster| replication::join(cluster, &table, &policies, health, clock);
        let replication = config.cluster.as_ref().map(join).transpose()?;
        kept_tables::hand_on(manager, memory.as_deref(), &provenance, handed);
        Ok(Self {
            clock,
            policies,
            table,
            logs,
            health: Arc::clone(health),
            kept,
            replication,
            store: found.store,
            epoch,
            key_print,
        })
    }

    /// What the control plane looks at.
    pub(super) fn observed(
        &self,
        config: &Config,
        cores: Vec<CoreHandles>,
        reloads: &Arc<Reloads>,
        published: &Arc<Published>,
    ) -> Observed {
        let observed = ObservedParts {
            table: Arc::clone(&self.table),
            policies: Arc::clone(&self.policies),
            watched: config.watched.clone(),
            reloads: Arc::clone(reloads),
            health: Arc::clone(&self.health),
            region: config.node.region.clone(),
            kept: config.state.is_some().then(|| Arc::clone(&self.kept)),
            published: Arc::clone(published),
        };
        Observed::new(cores, observed, self.clock.now())
    }

    /// What people look at single buckets with.
    pub(super) fn inspector(&self, config: &Config, question: Sender<TellRequest>) -> InspectorParts {
        InspectorParts {
            table: Arc::clone(&self.table),
            policies: Arc::clone(&self.policies),
            region: config.node.region.clone(),
            cluster: config.cluster.as_ref().map(|cluster| (cluster.node, question)),
            clock: self.clock,
        }
    }

    /// Has the buckets written down from time to time, where there is to be a directory for it.
    pub(super) fn keep(self, state: Option<&StateConfig>) -> io::Result<Option<Keeper>> {
        let Some((store, state)) = self.store.zip(state) else { return Ok(None) };
        Keeper::start(KeeperParts {
            store,
            interval: state.snapshot_interval,
            epoch: self.epoch,
            table: self.table,
            policies: self.policies,
            key_print: self.key_print,
            health: self.health,
            kept: self.kept,
            clock: self.clock,
        })
        .map(Some)
    }
}

/// The policies as this node keeps them: of a strict one it has an equal part, by the nodes of the cluster that it
/// is in, which a reload does not change.
pub(super) fn own_parts(
    policies: &[PolicySpec],
    cluster: Option<&ClusterConfig>,
) -> Result<Vec<PolicySpec>, PolicyError> {
    let nodes = 1 + cluster.map_or(0, |cluster| cluster.peers.len());
    let nodes = u8::try_from(nodes).unwrap_or(u8::MAX);
    policies.iter().map(|policy| policy.part_of(nodes)).collect()
}

fn new_table(
    config: &Config,
    epoch: &Epoch,
    memory: Option<Arc<KeptTable>>,
) -> Result<BucketTable, TableError> {
    let table = TableConfig { lines: config.table.lines, on_full: config.table.on_full };
    let table = memory.map_or_else(|| BucketTable::new(table), |memory| BucketTable::kept(table, memory))?;
    Ok(if config.cluster.is_some() { table.replicated(epoch.start_ms()) } else { table })
}

fn populate(table: &BucketTable) {
    if let Err(error) = table.populate() {
        warn!(
            "the memory of the table cannot be taken at once, so checks will wait for parts of it: {error}"
        );
    }
}

/// The key that names buckets: the cluster's, or the file's, or the state directory's, or a new one.
fn hash_key(config: &Config, found: &Found) -> [u8; 16] {
    if let Some(cluster) = &config.cluster {
        return derive_hash_key(&Secret::new(*cluster.secret.bytes()));
    }
    config.hash_secret.map(|secret| secret.0).or(found.hash_key).unwrap_or_else(rand::random)
}

/// Looks into the state directory, if there is to be one.
fn open_state(config: &Config) -> Found {
    let Some(state) = &config.state else { return Found::default() };
    let wants_key = config.cluster.is_none() && config.hash_secret.is_none();
    Found::open(&state.directory, wants_key.then_some(rand::random))
}
