//! From single looks to a standing: hysteresis for each who looks, and votes.

use super::assessment::Assessment;
use crate::agent::types::{Region, UnixMs};

/// When a series of looks becomes a standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// Bad looks in a row, and
    pub down_after: u32,
    /// milliseconds since the last good one, whichever is later, make it down.
    pub down_for_ms: u64,
    /// Good looks in a row make it up again.
    pub up_after: u32,
    /// A look that is older says nothing.
    pub stale_after_ms: u64,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self { down_after: 3, down_for_ms: 1_000, up_after: 5, stale_after_ms: 5_000 }
    }
}

/// What one look at a region's `/health` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Glimpse {
    /// 200.
    Good,
    /// 503, or another answer, with its reasons.
    Sick(Vec<String>),
    /// No answer.
    Bad(String),
}

/// All looks of one agent at all regions, its own and those of its witnesses.
#[derive(Clone, Debug)]
pub struct Outlook {
    _hysteresis: Hysteresis,
}

impl Outlook {
    /// Nothing was seen yet. `regions` with the number of nodes probed in each; `witnesses` of each region.
    #[must_use]
    pub fn new(hysteresis: Hysteresis, _regions: &[(Region, usize)], _witnesses: usize) -> Self {
        Self { _hysteresis: hysteresis }
    }

    /// An own probe of node `node` of `region` ended.
    pub fn probed(&mut self, _now: UnixMs, _region: &Region, _node: usize, _glimpse: Glimpse) {}

    /// A witness answered (`Some`: whether it sees the region healthy) or gave no vote.
    pub fn witnessed(&mut self, _now: UnixMs, _region: &Region, _witness: usize, _sees: Option<bool>) {}

    /// Whether heartbeats of any node of `region` arrive.
    pub fn link(&mut self, _region: &Region, _is_up: bool) {}

    /// What this node answers as a witness: whether it sees `region` healthy; `None` without a fresh look.
    #[must_use]
    pub fn sees(&self, _now: UnixMs, _region: &Region) -> Option<bool> {
        None
    }

    /// How the regions look now. `elected` and `unfit` are the caller's.
    #[must_use]
    pub fn assess(&self, _now: UnixMs, elected: bool, unfit: Option<String>) -> Assessment {
        Assessment { elected, unfit, ..Assessment::default() }
    }
}
