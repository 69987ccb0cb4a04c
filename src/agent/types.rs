//! Plain data that the parts of the agent exchange.

use serde::{Deserialize, Serialize};

/// A region's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Region(pub String);

/// One incident, from its first signal to its report.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentId(pub String);

/// What a traffic provider holds under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordState {
    /// The public name.
    pub name: String,
    /// `A`, `AAAA`, `CNAME`, or `POOLS` for a load balancer.
    pub kind: String,
    /// How long resolvers may keep it, in seconds.
    pub ttl_s: u32,
    /// Addresses, names, or pools in order.
    pub values: Vec<String>,
    /// Whether the provider's proxies stand in front, where it has any.
    pub proxied: Option<bool>,
    /// One weight for each value, where the provider has weights; 0 takes no traffic.
    pub weights: Vec<u32>,
}
