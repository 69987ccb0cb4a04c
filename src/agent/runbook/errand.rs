//! Pages, messages, commits and scaling: done beside the incident, which does not wait for them.

use super::action::{About, Page, Work};
use super::event::{Ended, Failure};
use super::incident::Arrived;
use super::machine::Runbook;
use super::tries::Tries;
use crate::agent::types::{IncidentId, Step, UnixMs};

/// When there are more, the oldest of the least urgent ones is dropped. All notices that may be raised at a
/// time fit, and what an incident sends.
const MAX_ERRANDS: usize = 512;
/// How many alerts from outside are sent at a time, so that the agent's own pages wait for no more than these.
const MAX_ALERTS_ON_THEIR_WAY: usize = 8;
/// How long a page is tried; the pager keeps it on disk besides.
const PAGE_FOR_MS: u64 = 30 * 60_000;
const TELL_FOR_MS: u64 = 60_000;

/// What is kept when not everything can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A message, a commit, or scaling.
    Tells,
    /// A page for an alert from outside.
    Alert,
    /// A page for this node's own trouble.
    Own,
    /// A page for an incident.
    Failover,
}

/// One errand.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    urgency: Urgency,
    work: Work,
    about: About,
    tries: Tries,
    until: UnixMs,
}

impl Errand {
    /// When it needs a tick.
    pub(super) fn deadline(&self) -> UnixMs {
        self.tries.deadline()
    }

    /// The same with all its times moved on.
    pub(super) fn later(&self, ms: u64) -> Self {
        Self { tries: self.tries.later(ms), until: self.until.after_ms(ms), ..self.clone() }
    }

    fn is_due(&self, now: UnixMs) -> bool {
        matches!(self.tries, Tries::Pausing { until, .. } if until <= now && now < self.until)
    }

    pub(super) fn is_about(&self, incident: &IncidentId) -> bool {
        self.about.incident.as_ref() == Some(incident)
    }

    pub(super) const fn wakes(&self) -> bool {
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
    pub(super) fn send(&mut self, about: About, work: Work) {
        self.send_as(Urgency::Tells, about, work);
    }

    pub(super) fn send_as(&mut self, urgency: Urgency, about: About, work: Work) {
        let for_ms =
            if matches!(work, Work::Page(_) | Work::ResolvePage { .. }) { PAGE_FOR_MS } else { TELL_FOR_MS };
        let errand =
            Errand { urgency, work, about, tries: Tries::first(self.now), until: self.now.after_ms(for_ms) };
        self.errands.retain(|other| !errand.replaces(other));
        self.errands.push(errand);
        if self.errands.len() > MAX_ERRANDS {
            // Among equals, `min_by_key` gives the first, which is the oldest.
            let least = self.errands.iter().enumerate().min_by_key(|(_, errand)| errand.urgency);
            let at = least.map_or(0, |(at, _)| at);
            let dropped = self.errands.remove(at);
            self.last_error =
                Some(format!("too much is to be told, so this was not: {:?}", dropped.work.step()));
        }
    }

    pub(super) fn run_errands(&mut self, arrived: &mut Arrived) {
        let errands = std::mem::take(&mut self.errands);
        let is_on_its_way = |errand: &&Errand| {
            errand.urgency == Urgency::Alert && matches!(errand.tries, Tries::Running { .. })
        };
        let on_their_way = errands.iter().filter(is_on_its_way).count();
        let mut room = MAX_ALERTS_ON_THEIR_WAY.saturating_sub(on_their_way);
        for errand in errands {
            if errand.urgency == Urgency::Alert && errand.is_due(self.now) {
                if room == 0 {
                    self.errands.push(errand);
                    continue;
                }
                room -= 1;
            }
            if let Some(errand) = self.run_errand(errand, arrived) {
                self.errands.push(errand);
            }
        }
    }

    /// The errand, if it is not over.
    fn run_errand(&mut self, mut errand: Errand, arrived: &mut Arrived) -> Option<Errand> {
        match errand.tries {
            Tries::Pausing { until, .. } if self.now < until => Some(errand),
            Tries::Pausing { attempt, .. } => {
                let is_held = self.frozen.is_some() && errand.work.changes_the_world();
                if (self.journal_fails.is_none() && !is_held) || errand.wakes() {
                    let timeout_ms = self.config.timing.errand_timeout_ms;
                    errand.tries =
                        self.perform(errand.about.clone(), attempt, timeout_ms, errand.work.clone());
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
                // A page has its key, and a commit that was made is found. Scaling and messages would happen twice.
                let is_repeated = match failure {
                    Failure::NotDone | Failure::Throttled { .. } => true,
                    Failure::Unknown => !matches!(errand.work.step(), Step::Scale | Step::Notify),
                    Failure::Refused | Failure::Conflict(_) => errand.wakes(),
                };
                errand.tries = self.again(errand.tries);
                (is_repeated && self.now < errand.until).then_some(errand)
            }
        }
    }
}
