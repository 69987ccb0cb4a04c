//! Where the runbook stands, in words.

use std::collections::BTreeSet;

use crate::agent::orders::Suggested;
use crate::agent::types::{IncidentId, Phase, RecordState, Region, UnixMs};

/// Where the runbook stands, for a person and for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookStatus {
    /// Why it is frozen; `None` when it is not.
    pub frozen: Option<String>,
    /// Whether this node's agent is the one that acts for its region.
    pub elected: bool,
    /// Where the incident stands; [`Phase::Watching`] without one.
    pub phase: Phase,
    /// The incident that is under way.
    pub incident: Option<IncidentId>,
    /// The region that it is about.
    pub region: Option<Region>,
    /// The region that takes over, once it is chosen.
    pub target: Option<Region>,
    /// Whether it is a drill.
    pub drill: bool,
    /// The phase began then.
    pub since: UnixMs,
    /// The phase ends by itself then, at the latest.
    pub deadline: Option<UnixMs>,
    /// What happens next, and when nobody says anything, in words.
    pub next: String,
    /// What stands against acting now, in words.
    pub objections: Vec<String>,
    /// The orders that would be taken now.
    pub commands: Vec<Suggested>,
    /// The live record as it was last read.
    pub record: Option<RecordState>,
    /// When it was read.
    pub record_read: Option<UnixMs>,
    /// Regions in service by that record; `None` when it is no set of ours.
    pub in_service: Option<BTreeSet<Region>>,
    /// Switches that are left today before only a person may start one.
    pub switches_left: u32,
    /// No switch by itself before this time.
    pub cooldown_until: Option<UnixMs>,
    /// Why the journal cannot be written; `None` when it can.
    pub journal_fails: Option<String>,
    /// What went wrong last, with what to do.
    pub last_error: Option<String>,
}

/// What a failover would do now; the calls of it are known to the providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookPlan {
    /// The region that is withdrawn.
    pub from: Region,
    /// The region that takes over.
    pub to: Region,
    /// Regions in service after it.
    pub in_service: BTreeSet<Region>,
    /// What stands against it now. Empty when nothing does.
    pub objections: Vec<String>,
    /// The live record as it was last read.
    pub record: Option<RecordState>,
    /// The live record as it would become.
    pub wanted: Option<RecordState>,
}
