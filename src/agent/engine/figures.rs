//! What the agent shows on the metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::pilot::Pilot;
use crate::agent::types::{Phase, Step, UnixMs};
use crate::metrics::Family;

const PHASES: [Phase; 14] = [
    Phase::Watching,
    Phase::Suspect,
    Phase::Paged,
    Phase::Acknowledged,
    Phase::AutoApproved,
    Phase::Declined,
    Phase::Preflight,
    Phase::Switching,
    Phase::Validating,
    Phase::Recovered,
    Phase::RollingBack,
    Phase::RolledBack,
    Phase::HandedOver,
    Phase::Reported,
];
const STANDINGS: [&str; 4] = ["healthy", "sick", "unreachable", "unknown"];

/// How tasks ended.
#[derive(Debug, Default)]
pub(super) struct Counts {
    actions: BTreeMap<(String, &'static str), u64>,
}

impl Counts {
    /// An idle look at the record, outside of any incident, has a name of its own: one that fails is no failover
    /// that fails.
    pub(super) fn count(&mut self, step: Step, is_idle_look: bool, is_done: bool) {
        let outcome = if is_done { "done" } else { "failed" };
        let name = if is_idle_look { "watch_record".to_owned() } else { name_of(&step) };
        *self.actions.entry((name, outcome)).or_default() += 1;
    }
}

/// The name by which it is journalled.
fn name_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

impl Pilot {
    pub(super) fn publish(&self, now: UnixMs) {
        self.published.agent.store(Arc::new(self.families(now)));
    }

    fn families(&self, now: UnixMs) -> Vec<Family> {
        let status = self.runbook.status(now);
        let help = "1 for the phase that the incident is in; watching without one.";
        let mut phase = Family::gauge("openclaw_agent_phase", help);
        for one in PHASES {
            phase.add(&[("phase", &name_of(&one))], flag(one == status.phase));
        }
        let mut families = vec![phase];
        families.extend(self.region_families());
        let mut actions = Family::counter("openclaw_agent_actions_total", "Things done, by how they ended.");
        for ((step, outcome), count) in &self.flight.counts.actions {
            actions.add(&[("step", step), ("outcome", outcome)], *count as f64);
        }
        families.push(actions);
        let mut signals = Family::gauge("openclaw_agent_signal", "1 while the signal is raised.");
        for (signal, subject) in self.watch.raised() {
            signals.add(&[("signal", signal.name()), ("subject", subject)], 1.0);
        }
        families.push(signals);
        let counter = |name, help, value| Family::counter(name, help).with(&[], value);
        let gauge = |name, help, value| Family::gauge(name, help).with(&[], value);
        families.extend([
            counter(
                "openclaw_agent_journal_errors_total",
                "Lines that could not be written.",
                self.ledger.errors() as f64,
            ),
            gauge(
                "openclaw_agent_journal_failing",
                "1 while the journal cannot be written.",
                flag(self.ledger.failing().is_some()),
            ),
            gauge(
                "openclaw_agent_frozen",
                "1 while nothing is changed by order.",
                flag(status.frozen.is_some()),
            ),
            gauge(
                "openclaw_agent_dry_run",
                "1 when nothing is written to the world.",
                flag(self.config.dry_run),
            ),
            gauge(
                "openclaw_agent_pages_waiting",
                "Events for the pager that wait on disk and have reached nobody.",
                self.flight.unsent_pages.as_ref().map_or(0, |(pages, _)| *pages) as f64,
            ),
            gauge("openclaw_agent_elected", "1 when this node acts for its region.", flag(status.elected)),
            gauge(
                "openclaw_agent_switches_today",
                "Switches on this UTC day that count against the cap.",
                f64::from(self.config.max_switches_per_day.saturating_sub(status.switches_left)),
            ),
        ]);
        families
    }

    fn region_families(&self) -> [Family; 3] {
        let mut standing =
            Family::gauge("openclaw_agent_standing", "1 for how the region is seen from here.");
        let mut latency = Family::gauge(
            "openclaw_agent_probe_latency_seconds",
            "The last probe, from the look-up to the end of the answer.",
        );
        let mut good =
            Family::gauge("openclaw_agent_probe_good", "1 when the last probe was answered by 200.");
        let now = Instant::now();
        for region in self.watch.regions() {
            let seen =
                self.watch.assessment().map_or("unknown", |assessment| assessment.standing(region).name());
            for name in STANDINGS {
                standing.add(&[("region", &region.0), ("standing", name)], flag(name == seen));
            }
            if let Some((sight, _)) = self.watch.seen.telling(region, now) {
                latency.add(&[("target", &region.0)], sight.timings.total.as_secs_f64());
                good.add(&[("target", &region.0)], flag(sight.is_good()));
            }
        }
        if let Some(sight) = self.watch.seen.public() {
            latency.add(&[("target", "public")], sight.timings.total.as_secs_f64());
            good.add(&[("target", "public")], flag(sight.is_good()));
        }
        [standing, latency, good]
    }
}
