//! What only informs, or asks for more of the standby: done beside the incident, which does not wait for it.

use super::action::Action;
use super::action::{Page, Task, TaskId, Work};
use super::event::{Ended, Failure};
use super::incident::Arrived;
use super::machine::Runbook;
use super::tries::Tries;
use crate::agent::types::{IncidentId, Step, UnixMs};

/// More errands than that are not kept; the oldest that nobody is woken by goes.
const MAX_ERRANDS: usize = 64;
/// A page is tried for as long; the pager has a spool of its own.
const PAGE_FOR_MS: u64 = 30 * 60_000;
const TELL_FOR_MS: u64 = 60_000;

/// One errand.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    work: Work,
    incident: Option<IncidentId>,
    is_drill: bool,
    tries: Tries,
    until: UnixMs,
}

impl Errand {
    /// When something happens to it by time alone.
    pub(super) fn deadline(&self) -> UnixMs {
        self.tries.deadline()
    }

    /// The same when all times of it are so much later.
    pub(super) fn later(&self, ms: u64) -> Self {
        Self { tries: self.tries.later(ms), until: self.until.after_ms(ms), ..self.clone() }
    }

    const fn wakes(&self) -> bool {
        matches!(self.work, Work::Page(_) | Work::ResolvePage { .. })
    }

    const fn wakes(&self) -> bool {
        matches!(self.work, Work::Page(_) | Work::ResolvePage { .. })
    }

    /// Whether `self` makes `other` superfluous.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let key = |work: &Work| match work {
            Work::Page(Page { dedup_key, .. }) | Work::ResolvePage { dedup_key, .. } => {
                Some(dedup_key.clone())
            }
            _ => None,
        };
        key(&self.work).is_some() && key(&self.work) == key(&other.work)
    }
}

impl Runbook {
    /// Does `work` beside the incident, as soon as it can be done.
    pub(super) fn send(&mut self, incident: Option<(&IncidentId, bool)>, work: Work) {
        let for_ms =
            if matches!(work, Work::Page(_) | Work::ResolvePage { .. }) { PAGE_FOR_MS } else { TELL_FOR_MS };
        let errand = Errand {
            work,
            incident: incident.map(|(id, _)| id.clone()),
            is_drill: incident.is_some_and(|(_, is_drill)| is_drill),
            tries: Tries::first(self.now),
            until: self.now.after_ms(for_ms),
        };
        self.errands.retain(|other| !errand.replaces(other));
        if self.errands.len() >= MAX_ERRANDS {
            let oldest = self.errands.iter().position(|errand| !errand.wakes()).unwrap_or(0);
            self.errands.remove(oldest);
        }
        self.errands.push(errand);
    }

    pub(super) fn run_errands(&mut self, arrived: &mut Arrived) {
        let errands = std::mem::take(&mut self.errands);
        for errand in errands {
            if let Some(errand) = self.run_errand(errand, arrived) {
                self.errands.push(errand);
            }
        }
    }

    /// What is left of it.
    fn run_errand(&mut self, mut errand: Errand, arrived: &mut Arrived) -> Option<Errand> {
        match errand.tries {
            Tries::Pausing { until, .. } if self.now < until => Some(errand),
            Tries::Pausing { attempt, .. } => {
                let is_held = self.frozen.is_some() && errand.work.changes_the_world();
                if (self.journal_fails.is_none() && !is_held) || errand.wakes() {
                    errand.tries = self.hand_out(&errand, attempt);
                }
                (self.now < errand.until).then_some(errand)
            }
            Tries::Running { task, deadline, .. } => {
                let ended = arrived.take_if(|(of, _)| *of == task).map(|(_, ended)| ended);
                let (failure, why) = match ended {
                    Some(Ended::Failed { failure, why }) => (failure, why),
                    Some(_) => return None,
                    None if self.now >= deadline => {
                        (Failure::Unknown, "there was no answer in time".to_owned())
                    }
                    None => return Some(errand),
                };
                self.last_error = Some(format!("{:?}: {why}", errand.work.step()));
                // Telling twice is harmless, and a page has its key; more of the standby is asked for once.
                let is_repeated = match failure {
                    Failure::NotDone => true,
                    Failure::Unknown => errand.work.step() != Step::Scale,
                    Failure::Refused | Failure::Conflict(_) => errand.wakes(),
                };
                errand.tries = self.again(errand.tries);
                (is_repeated && self.now < errand.until).then_some(errand)
            }
        }
    }

    fn hand_out(&mut self, errand: &Errand, attempt: u32) -> Tries {
        let timeout_ms = self.config.timing.errand_timeout_ms;
        let id = TaskId(self.next_task);
        self.next_task += 1;
        self.out.push(Action::Perform(Task {
            id,
            incident: errand.incident.clone(),
            attempt,
            timeout_ms,
            is_drill: errand.is_drill,
            work: errand.work.clone(),
        }));
        Tries::running(id, attempt, self.now, timeout_ms)
    }
}
