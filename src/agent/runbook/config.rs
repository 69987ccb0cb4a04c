//! How the runbook is set up.

use crate::agent::orders::AgentMode;
use crate::agent::types::Region;

/// How the runbook is set up. Whole and checked: `check-config` refuses what would make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunbookConfig {
    /// The name of the service, the same on all nodes. It tells its pages from those of other services.
    pub cluster: String,
    /// This node's name, for pages about the node itself.
    pub node: String,
    /// The region of this node. One that is not among `regions` never acts.
    pub own_region: Region,
    /// The regions in order of preference, with what the record holds for each.
    pub regions: Vec<RegionRecord>,
    /// What the agent does without a person.
    pub mode: AgentMode,
    /// Whether nothing is written to the world: a run ends where it would write, and shows what.
    pub dry_run: bool,
    /// Switches on one UTC day before only a person may start one.
    pub max_switches_per_day: u32,
    /// What becomes of a region that is healthy again.
    pub failback: Failback,
    /// Whether there is something to scale when tokens are critical.
    pub can_scale: bool,
    /// Whether the region is committed to a values file after a switch.
    pub commits_region: bool,
    /// Whether a shadow record is configured.
    pub can_drill: bool,
    /// Deadlines and pauses.
    pub timing: Timing,
}

/// A region and what the records hold for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRecord {
    /// Its name.
    pub region: Region,
    /// Its values in the live record; no two regions share one.
    pub values: Vec<String>,
    /// Its values in the shadow record of drills.
    pub drill_values: Vec<String>,
    /// Its weight where the record has weights and it serves; at least 1.
    pub weight: u32,
}

/// What becomes of a region that was withdrawn and is healthy again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// A person moves traffic back.
    Manual,
    /// The same runbook in reverse, after that many milliseconds of uninterrupted health.
    AfterMs(u64),
}

/// Deadlines and pauses, in milliseconds.
///
/// The page is out `down + confirm_ms` after the last healthy answer, where `down` is what detection
/// takes; the record has moved after `down + confirm_ms + hold_off_ms` and the time of preflight, one
/// read and one write. With `down` at 2 s, a record that has moved within 5 s takes `hold_off_ms <= 1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the suspicion to the page. What heals before wakes nobody.
    pub confirm_ms: u64,
    /// In automatic mode, from the page to the act.
    pub hold_off_ms: u64,
    /// How long an incident waits for a person, or for what stands against acting, before it is handed over.
    pub ack_timeout_ms: u64,
    /// Between two switches that no person started.
    pub cooldown_ms: u64,
    /// An assessment that is older says nothing.
    pub assessment_fresh_ms: u64,
    /// A preflight that is older does not count as just passed.
    pub preflight_fresh_ms: u64,
    /// One look at the target.
    pub preflight_timeout_ms: u64,
    /// One read of the record.
    pub read_timeout_ms: u64,
    /// One write of the record.
    pub write_timeout_ms: u64,
    /// One look whether resolvers show the record.
    pub look_timeout_ms: u64,
    /// How long the change may take to show.
    pub visible_ms: u64,
    /// One trial under the public name.
    pub validate_timeout_ms: u64,
    /// All trials together; then it is put back.
    pub validating_ms: u64,
    /// From the approval to the write; then it is handed over.
    pub run_ms: u64,
    /// How long putting back may take; then it is handed over.
    pub rollback_ms: u64,
    /// Everything that only informs: a page, a message, a commit, the report.
    pub errand_timeout_ms: u64,
    /// How long the end of an incident waits for its report.
    pub report_ms: u64,
    /// Between two reads of the record while nothing happens.
    pub refresh_ms: u64,
    /// Between two reads of the record during an incident that waits.
    pub incident_refresh_ms: u64,
    /// The first pause before something is tried again; it doubles.
    pub backoff_ms: u64,
    /// The longest such pause.
    pub max_backoff_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            confirm_ms: 300,
            hold_off_ms: 500,
            ack_timeout_ms: 30 * 60_000,
            cooldown_ms: 10 * 60_000,
            assessment_fresh_ms: 3_000,
            preflight_fresh_ms: 30_000,
            preflight_timeout_ms: 5_000,
            read_timeout_ms: 10_000,
            write_timeout_ms: 30_000,
            look_timeout_ms: 10_000,
            visible_ms: 120_000,
            validate_timeout_ms: 60_000,
            validating_ms: 3 * 60_000,
            run_ms: 5 * 60_000,
            rollback_ms: 5 * 60_000,
            errand_timeout_ms: 20_000,
            report_ms: 2 * 60_000,
            refresh_ms: 30_000,
            incident_refresh_ms: 5_000,
            backoff_ms: 500,
            max_backoff_ms: 15_000,
        }
    }
}

impl Timing {
    /// If a write got no answer and the record still shows the old values, it counts as unwritten for this long
    /// after the announcement. Later than that, somebody may have put it back.
    pub(super) const fn doubt_ms(&self) -> u64 {
        self.write_timeout_ms.saturating_add(self.read_timeout_ms).saturating_add(4_000)
    }
}

impl RunbookConfig {
    /// The record's values of a region.
    pub(super) fn record_of(&self, region: &Region) -> Option<&RegionRecord> {
        self.regions.iter().find(|record| record.region == *region)
    }
}
