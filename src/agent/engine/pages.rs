//! When incidents paged, so that an acknowledgement answers the page that it is about.

use std::collections::BTreeMap;

use super::ledger::Past;
use crate::agent::runbook::{Runbook, Task, Work};
use crate::agent::types::{Entry, IncidentId, Step, UnixMs};

/// An acknowledgement counts when it came after the page, clocks a little apart.
const CLOCK_SKEW_MS: u64 = 30_000;

/// The first page of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paged {
    incident: IncidentId,
    at: UnixMs,
}

/// The last incident that paged under each key: incidents of one region share theirs.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<String, Paged>);

impl Pages {
    /// A page goes out. One that is told again, or louder, has begun when it was first told.
    pub(super) fn note(&mut self, task: &Task, at: UnixMs) {
        let (Work::Page(page), Some(incident)) = (&task.work, &task.incident) else { return };
        let is_known = self.0.get(&page.dedup_key).is_some_and(|paged| paged.incident == *incident);
        if !is_known {
            self.0.insert(page.dedup_key.clone(), Paged { incident: incident.clone(), at });
        }
    }

    /// Takes up the page of an earlier life of the agent, when `runbook` still waits for its answer.
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

    /// Whether something that a person did at `at_ms`, by another clock, answers the page of `incident`.
    pub(super) fn is_answered(&self, key: &str, incident: &IncidentId, at_ms: Option<i64>) -> bool {
        let paged = self.0.get(key).filter(|paged| paged.incident == *incident);
        let at_ms = at_ms.and_then(|at_ms| u64::try_from(at_ms).ok());
        paged.zip(at_ms).is_some_and(|(paged, at_ms)| at_ms.saturating_add(CLOCK_SKEW_MS) >= paged.at.0)
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
        let is_answered = |pages: &Pages, at_ms| pages.is_answered("failback:eu", &id("a"), at_ms);
        for (at_ms, counts) in [
            (Some(1_000_500), true),
            (Some(1_000_000 - 30_000), true),
            (Some(1_000_000 - 30_001), false),
            (Some(-5), false),
            (None, false),
        ] {
            assert_eq!(is_answered(&pages, at_ms), counts, "{at_ms:?}");
        }
        pages.pass(60_000);
        assert!(
            !is_answered(&pages, Some(1_000_500)) && !pages.is_answered("other", &id("a"), Some(i64::MAX))
        );
    }

    #[test]
    fn each_incident_under_a_key_has_a_page_of_its_own() {
        let mut pages = Pages::default();
        pages.note(&page("a"), UnixMs(1_000_000));
        pages.note(&page("b"), UnixMs(2_000_000));
        let is_answered = |incident, at_ms| pages.is_answered("failback:eu", &id(incident), Some(at_ms));
        assert!(is_answered("b", 2_000_001) && !is_answered("b", 1_000_001) && !is_answered("a", 2_000_001));
    }
}
