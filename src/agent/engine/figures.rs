//! What the agent shows on the metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::pilot::Pilot;
use crate::agent::runbook::{Ended, Failure, Task};
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

const STEPS: [Step; 12] = [
    Step::Page,
    Step::ResolvePage,
    Step::Preflight,
    Step::ReadRecord,
    Step::WriteRecord,
    Step::AwaitVisible,
    Step::Validate,
    Step::RestoreRecord,
    Step::Notify,
    Step::Scale,
    Step::CommitRegion,
    Step::WriteReport,
];
/// Reads of the record outside of an incident are counted apart: one that fails is not a failed failover.
const WATCH_RECORD: &str = "watch_record";
const DONE: &str = "done";
const FAILED: &str = "failed";
/// A change does not show yet. This is normal in every switch, so it is not counted as a failure.
const PENDING: &str = "pending";

/// How many tasks ended, by step and outcome.
#[derive(Debug)]
pub(super) struct Counts {
    actions: BTreeMap<(&'static str, &'static str), u64>,
}

impl Default for Counts {
    /// All are shown from the start, as 0: Prometheus sees no increase in a counter that first appears with 1.
    fn default() -> Self {
        let steps = STEPS.iter().map(|step| step.name()).chain([WATCH_RECORD]);
        let outcomes = steps.flat_map(|step| [(step, DONE), (step, FAILED)]);
        let pending = [(Step::AwaitVisible.name(), PENDING)];
        Self { actions: outcomes.chain(pending).map(|row| (row, 0)).collect() }
    }
}

impl Counts {
    pub(super) fn count(&mut self, task: &Task, ended: &Ended) {
        let step = task.work.step();
        let outcome = match ended {
            Ended::Done { .. } | Ended::Found(_) => DONE,
            Ended::Failed { failure: Failure::NotDone, .. } if step == Step::AwaitVisible => PENDING,
            Ended::Failed { .. } => FAILED,
        };
        let name = if task.is_idle_look() { WATCH_RECORD } else { step.name() };
        *self.actions.entry((name, outcome)).or_default() += 1;
    }

    fn family(&self) -> Family {
        let mut family = Family::counter("openclaw_agent_actions_total", "Things done, by how they ended.");
        for ((step, outcome), count) in &self.actions {
            family.add(&[("step", step), ("outcome", outcome)], *count as f64);
        }
        family
    }
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
            phase.add(&[("phase", one.name())], flag(one == status.phase));
        }
        let mut families = vec![phase];
        families.extend(self.region_families());
        families.extend(self.watch.witnesses().families());
        families.push(self.flight.counts.family());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runbook::{TaskId, Work};
    use crate::agent::types::RecordState;

    fn task(work: Work) -> Task {
        Task { id: TaskId(1), incident: None, attempt: 1, timeout_ms: 1000, is_drill: false, work }
    }

    fn failed(failure: Failure) -> Ended {
        Ended::Failed { failure, why: String::new() }
    }

    fn counted(counts: &Counts, step: &'static str, outcome: &'static str) -> Option<u64> {
        counts.actions.get(&(step, outcome)).copied()
    }

    #[test]
    fn figures_and_the_journal_have_one_name_for_each_step_and_phase() {
        let steps = STEPS.iter().map(|step| (step.name(), serde_json::to_value(step).unwrap()));
        let phases = PHASES.iter().map(|phase| (phase.name(), serde_json::to_value(phase).unwrap()));
        for (name, journalled) in steps.chain(phases) {
            assert_eq!(journalled, name);
        }
    }

    #[test]
    fn every_step_is_shown_before_it_has_ended_once() {
        let counts = Counts::default();
        for step in ["page", "preflight", "write_record", "await_visible", "watch_record", "write_report"] {
            assert_eq!(counted(&counts, step, DONE), Some(0), "{step}");
            assert_eq!(counted(&counts, step, FAILED), Some(0), "{step}");
        }
        assert_eq!(counted(&counts, "await_visible", PENDING), Some(0));
    }

    #[test]
    fn a_change_that_does_not_show_yet_is_no_failure() {
        let mut counts = Counts::default();
        let wanted = RecordState {
            name: "www.example.com".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 1,
            values: Vec::new(),
            proxied: None,
            weights: Vec::new(),
        };
        let look = task(Work::AwaitVisible { wanted });
        counts.count(&look, &failed(Failure::NotDone));
        counts.count(&look, &failed(Failure::Refused));
        counts.count(&look, &Ended::Done { detail: String::new() });
        counts.count(&task(Work::Scale), &failed(Failure::NotDone));
        counts.count(&task(Work::ReadRecord), &failed(Failure::NotDone));
        for (step, outcome) in [
            ("await_visible", PENDING),
            ("await_visible", FAILED),
            ("await_visible", DONE),
            ("scale", FAILED),
            ("watch_record", FAILED),
        ] {
            assert_eq!(counted(&counts, step, outcome), Some(1), "{step} {outcome}");
        }
        assert_eq!(counted(&counts, "read_record", FAILED), Some(0));
    }
}
