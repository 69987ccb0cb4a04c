//! When each incident paged, so that an old acknowledgement does not count for a new page.

use std::collections::BTreeMap;

use super::ledger::Past;
use crate::agent::runbook::{Runbook, Task, Work};
use crate::agent::types::{Entry, IncidentId, Step, UnixMs};

/// An acknowledgement must be later than its page; clocks of two hosts may differ by this much.
pub(super) const CLOCK_SKEW_MS: u64 = 30_000;

/// The first page of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paged {
    incident: IncidentId,
    at: UnixMs,
}

/// The last incident that paged under each key: all incidents of a region share one key.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<String, Paged>);

impl Pages {
    /// A page goes out. When it is repeated, the time of the first one counts.
    pub(super) fn note(&mut self, task: &Task, at: UnixMs) {
        let (Work::Page(page), Some(incident)) = (&task.work, &task.incident) else { return };
        let is_known = self.0.get(&page.dedup_key).is_some_and(|paged| paged.incident == *incident);
        if !is_known {
            self.0.insert(page.dedup_key.clone(), Paged { incident: incident.clone(), at });
        }
    }

    /// Takes over the page from before a restart, when `runbook` still waits for its answer.
    pub(super) fn take_up(&mut self, runbook: &Runbook, paged: Option<Paged>) {
        let paged = paged.filter(|paged| Some(&paged.incident) == runbook.incident());
        self.0.extend(runbook.waiting_page().zip(paged).map(|((key, _), paged)| (key, paged)));
    }

    /// The clock has gone ahead.
    pub(super) fn pass(&mut self, ms: u64) {
        for paged in self.0.values_mut() {
            paged.at = paged.at.after_ms(ms);
        }
    }

    /// Whether something that a person did at `at`, in the agent's time, answers the page of `incident`.
    pub(super) fn is_answered(&self, key: &str, incident: &IncidentId, at: Option<UnixMs>) -> bool {
        let paged = self.0.get(key).filter(|paged| paged.incident == *incident);
        paged.zip(at).is_some_and(|(paged, at)| at.after_ms(CLOCK_SKEW_MS) >= paged.at)
    }
}

/// The page of the last incident of `past`.
pub(super) fn last_paged(past: &[Past]) -> Option<Paged> {
    let last = past.iter().rev().find_map(|(_, incident, _)| incident.as_ref())?;
    let of_last = past.iter().filter(|(_, incident, _)| incident.as_ref() == Some(last));
    let mut pages = of_last.filter(|(.., entry)| matches!(entry, Entry::Intent { step: Step::Page, .. }));
    pages.next().map(|(at, ..)| Paged { incident: last.clone(), at: *at })
}

#[cfg(test)]
mod tests {
    use super::super::clock::Moment;
    use super::*;
    use crate::agent::pager::Severity;
    use crate::agent::runbook::{Page, TaskId};

    fn id(name: &str) -> IncidentId {
        IncidentId(name.to_owned())
    }

    fn page(incident: &str) -> Task {
        let page = Page {
            dedup_key: "failback:eu".to_owned(),
            severity: Severity::Info,
            summary: String::new(),
            details: vec![],
        };
        Task {
            id: TaskId(1),
            incident: Some(id(incident)),
            attempt: 1,
            timeout_ms: 1000,
            is_drill: false,
            work: Work::Page(page),
        }
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_page_does_not_answer_this_one() {
        let mut pages = Pages::default();
        pages.note(&page("a"), UnixMs(1_000_000));
        pages.note(&page("a"), UnixMs(1_500_000));
        let is_answered =
            |pages: &Pages, at: Option<u64>| pages.is_answered("failback:eu", &id("a"), at.map(UnixMs));
        for (at, counts) in [
            (Some(1_000_500), true),
            (Some(1_000_000 - 30_000), true),
            (Some(1_000_000 - 30_001), false),
            (Some(0), false),
            (None, false),
        ] {
            assert_eq!(is_answered(&pages, at), counts, "{at:?}");
        }
        pages.pass(60_000);
        let latest = Some(UnixMs(u64::MAX));
        assert!(!is_answered(&pages, Some(1_000_500)) && !pages.is_answered("other", &id("a"), latest));
    }

    #[test]
    fn an_acknowledgement_by_the_clock_of_the_world_counts_though_the_agents_is_another() {
        // The host began two minutes ahead, or behind, and its wall clock was set right before the page.
        for agent in [1_120_000, 880_000] {
            let mut pages = Pages::default();
            pages.note(&page("a"), UnixMs(agent));
            let asked = Moment { agent: UnixMs(agent + 60_000), wall: UnixMs(1_060_000) };
            let counts =
                |wall_ms| pages.is_answered("failback:eu", &id("a"), Some(asked.agent_time_of(wall_ms)));
            assert!(counts(1_020_000), "20 s after the page");
            assert!(!counts(940_000), "a minute before it");
        }
    }

    #[test]
    fn each_incident_under_a_key_has_a_page_of_its_own() {
        let mut pages = Pages::default();
        pages.note(&page("a"), UnixMs(1_000_000));
        pages.note(&page("b"), UnixMs(2_000_000));
        let is_answered = |incident, at| pages.is_answered("failback:eu", &id(incident), Some(UnixMs(at)));
        assert!(is_answered("b", 2_000_001) && !is_answered("b", 1_000_001) && !is_answered("a", 2_000_001));
    }
}
