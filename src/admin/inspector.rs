//! Looks into the table, and asks the control plane what only it knows.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam::channel::{Sender, bounded};

use super::answer::Refusal;
use super::bucket::{BucketReport, Counter, PeerState, ResetReport};
use crate::bucket::hash::BucketId;
use crate::bucket::policy::{Limits, MAX_KEY_BYTES, Mode, Policy, PolicySet};
use crate::bucket::table::{BucketTable, View};
use crate::control_plane::{TellRequest, Told, ToldPeer};
use crate::replica::NodeId;
use crate::time::{Clock as _, SystemClock, whole_ms};

/// The control plane looks every few milliseconds; a person does not wait longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

/// What looks at buckets, and fills them, is made of.
#[derive(Debug)]
pub struct InspectorParts {
    /// The buckets.
    pub table: Arc<BucketTable>,
    /// The policies in force.
    pub policies: Arc<ArcSwap<PolicySet>>,
    /// Where this server is.
    pub region: String,
    /// This node and the way to who speaks with its peers, in a cluster.
    pub cluster: Option<(NodeId, Sender<TellRequest>)>,
    /// The clock of the data plane.
    pub clock: SystemClock,
}

/// Looks at buckets, and fills them.
#[derive(Debug)]
pub(super) struct Inspector {
    pub(super) parts: InspectorParts,
}

impl Inspector {
    pub(super) const fn new(parts: InspectorParts) -> Self {
        Self { parts }
    }

    /// Where each peer stands, in a cluster.
    ///
    /// # Errors
    /// When the control plane does not answer in time.
    pub(super) fn peers(&self) -> Result<Vec<ToldPeer>, Refusal> {
        self.ask_control_plane(None).map(|told| told.peers)
    }

    fn ask_control_plane(&self, id: Option<BucketId>) -> Result<Told, Refusal> {
        let Some((_, control_plane)) = &self.parts.cluster else { return Ok(Told::default()) };
        let (reply, answer) = bounded(1);
        let request = TellRequest { id, reply };
        control_plane.send_timeout(request, PATIENCE).map_err(|_| Refusal::NoAnswer)?;
        answer.recv_timeout(PATIENCE).map_err(|_| Refusal::NoAnswer)
    }

    fn counters(&self, view: Option<&View>, told: &Told) -> Vec<Counter> {
        let own = self.parts.cluster.as_ref().zip(view).map(|((node, _), view)| (*node, view.count));
        own.into_iter()
            .chain(told.heard.iter().copied())
            .map(|(node, count)| Counter { node: node.get(), count })
            .collect()
    }

    /// All that is known of one bucket.
    ///
    /// # Errors
    /// When there is no such policy, or the control plane does not answer in time.
    pub(super) fn bucket(&self, policy: &[u8], key: &[u8]) -> Result<BucketReport, Refusal> {
        let policies = self.parts.policies.load();
        let policy = find(&policies, policy, key)?;
        let limits = policy.limits_for(key);
        let id = policies.bucket_id(policy, key);
        let told = self.ask_control_plane(Some(id))?;
        let table = &self.parts.table;
        let level = table.level(id, limits, self.parts.clock.now());
        let level_fixed = limits.clock().to_fixed(level.unwrap_or(0));
        let view = table.line(id).and_then(|line| table.view(line)).filter(|view| view.id == id);
        Ok(BucketReport {
            policy: policy.name().to_owned(),
            key: String::from_utf8_lossy(key).into_owned(),
            region: self.parts.region.clone(),
            mode: mode_name(policy.mode()).to_owned(),
            limit: limit_text(limits),
            burst: limits.burst(),
            exists: view.is_some(),
            available: tokens(limits.burst_ticks().saturating_sub(level.unwrap_or(0)), limits),
            level: tokens(level.unwrap_or(0), limits),
            used_here: view.map_or(0, |view| view.count.saturating_sub(view.start)),
            phantom: view.map_or(0.0, |view| view.phantom.standing_tokens(level_fixed)),
            counters: self.counters(view.as_ref(), &told),
            peers: told
                .peers
                .iter()
                .map(|peer| PeerState {
                    node: peer.node.get(),
                    present: peer.present,
                    synced: peer.synced,
                    pending: peer.pending,
                    lag_ms: whole_ms(peer.lag),
                })
                .collect(),
        })
    }

    /// Fills one bucket, here only.
    ///
    /// # Errors
    /// When there is no such policy.
    pub(super) fn reset(&self, policy: &[u8], key: &[u8]) -> Result<ResetReport, Refusal> {
        let policies = self.parts.policies.load();
        let policy = find(&policies, policy, key)?;
        let limits = policy.limits_for(key);
        let id = policies.bucket_id(policy, key);
        let level = self.parts.table.level(id, limits, self.parts.clock.now()).unwrap_or(0);
        let existed = self.parts.table.forget_level(id);
        Ok(ResetReport {
            policy: policy.name().to_owned(),
            key: String::from_utf8_lossy(key).into_owned(),
            region: self.parts.region.clone(),
            existed,
            given_back: if existed { tokens(level, limits) } else { 0.0 },
            peers_keep_theirs: self.parts.cluster.is_some(),
        })
    }
}

fn find<'p>(policies: &'p PolicySet, policy: &[u8], key: &[u8]) -> Result<&'p Policy, Refusal> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err(Refusal::BadKey);
    }
    policies.find(policy).ok_or(Refusal::UnknownPolicy)
}

fn tokens(ticks: u64, limits: &Limits) -> f64 {
    ticks as f64 / limits.clock().ticks(1) as f64
}

pub(super) fn limit_text(limits: &Limits) -> String {
    format!("{}, burst {}", limits.rate(), limits.burst())
}

pub(super) const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
        Mode::AllowAll => "allow_all",
        Mode::DenyAll => "deny_all",
    }
}
