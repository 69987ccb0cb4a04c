//! What the control plane and the agent tell each other: whole values, swapped without a lock.

use arc_swap::ArcSwap;

use super::family::Family;
use super::vitals::{PeerVital, Vitals};

/// The latest of each.
#[derive(Debug, Default)]
pub struct Published {
    /// What the last second was like; by the control plane, once a second.
    pub vitals: ArcSwap<Vitals>,
    /// How peers are heard; by the control plane, ten times a second.
    pub peers: ArcSwap<Vec<PeerVital>>,
    /// What the agent has to show on the metrics page; by the agent.
    pub agent: ArcSwap<Vec<Family>>,
}
