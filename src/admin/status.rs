//! How a server is: for programs as JSON, for people on the status page.

use serde::{Deserialize, Serialize};

use super::inspector::{self, Inspector};
use crate::agent::orders::AgentStatus;
use crate::health::{Health, Reason, Warning};
use crate::time::{Clock as _, NS_PER_SECOND, whole_ms};

/// More policies are counted, not listed.
const LISTED_POLICIES: usize = 100;

/// A server, at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Of this program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// This node's name.
    pub node: String,
    /// Its number in the cluster, where there is one.
    pub node_id: Option<u8>,
    /// Where it is.
    pub region: String,
    /// Whether it should get traffic: what `/health` says.
    pub healthy: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
    /// Whether it drains, by order or because it stops.
    pub draining: bool,
    /// How full the table is.
    pub table: TableReport,
    /// Policies in force, the first hundred.
    pub policies: Vec<PolicyReport>,
    /// Policies beyond these.
    pub more_policies: usize,
    /// Where each peer stands; none when it is alone.
    pub peers: Vec<PeerReport>,
    /// Why the peers are not known now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers_unknown: Option<String>,
    /// The agent.
    pub agent: AgentReport,
}

/// The table of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    /// Lines in all.
    pub lines: u64,
    /// Lines that have ever been used.
    pub occupied: u64,
    /// Buckets that gave way to others.
    pub evictions: u64,
    /// Checks decided for want of room.
    pub full: u64,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Its limit in words.
    pub limit: String,
    /// `enforce`, `shadow`, `allow_all` or `deny_all`.
    pub mode: String,
}

/// One peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its number.
    pub node: u8,
    /// Whether it is heard.
    pub present: bool,
    /// Whether all it has was heard since this node started.
    pub synced: bool,
    /// Age of the oldest change that it has not acknowledged.
    pub lag_ms: u64,
}

/// The agent, as far as it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "snake_case")]
pub enum AgentReport {
    /// None is configured.
    None,
    /// It answers.
    Running(Box<AgentStatus>),
    /// It does not, and why.
    Silent(String),
}

/// Looks at the server as it is now.
pub(super) fn gather(inspector: &Inspector, health: &Health, node: &str, agent: AgentReport) -> StatusReport {
    let parts = &inspector.parts;
    let (peers, peers_unknown) = match inspector.peers() {
        Ok(peers) => (peers, None),
        Err(refusal) => (Vec::new(), Some(refusal.to_string())),
    };
    let policies = parts.policies.load();
    let table = parts.table.stats();
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: parts.clock.now().0 / NS_PER_SECOND,
        node: node.to_owned(),
        node_id: parts.cluster.as_ref().map(|(id, _)| id.get()),
        region: parts.region.clone(),
        healthy: health.is_good(),
        reasons: health.reasons().map(Reason::label).map(str::to_owned).collect(),
        warnings: health.warnings().map(Warning::label).map(str::to_owned).collect(),
        draining: health.is_draining(),
        table: TableReport {
            lines: table.lines,
            occupied: table.occupied,
            evictions: table.evictions,
            full: table.full,
        },
        more_policies: policies.iter().count().saturating_sub(LISTED_POLICIES),
        policies: policies.iter().take(LISTED_POLICIES).map(policy_report).collect(),
        peers: peers
            .iter()
            .map(|peer| PeerReport {
                node: peer.node.get(),
                present: peer.present,
                synced: peer.synced,
                lag_ms: whole_ms(peer.lag),
            })
            .collect(),
        peers_unknown,
        agent,
    }
}

fn policy_report(policy: &crate::bucket::policy::Policy) -> PolicyReport {
    PolicyReport {
        name: policy.name().to_owned(),
        limit: inspector::limit_text(policy.default_limits()),
        mode: inspector::mode_name(policy.mode()).to_owned(),
    }
}
