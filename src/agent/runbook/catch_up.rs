//! A journal that can only be opened later: what happened until then is merged with it.

use super::errand::Errand;
use super::incident::{Incident, Reporting, State};
use super::machine::Runbook;
use crate::agent::orders::Command;
use crate::agent::types::{Entry, IncidentId, Region, UnixMs};

/// Stands for the person who held back: the line with the name could not be written.
const SOMEBODY: &str = "somebody, while there was no journal";

impl Runbook {
    /// The runbook of the journal's `lines`, which could not be read when `self` began, with what `self` did
    /// since: pages, and orders that hold back. `now` is later than the time of `self` if the journal is dated
    /// ahead.
    #[must_use]
    pub fn catch_up(
        &self,
        now: UnixMs,
        lines: impl IntoIterator<Item = (UnixMs, Option<IncidentId>, Entry)>,
    ) -> Self {
        let mut whole = Self::resume(self.config.clone(), now, lines);
        let ahead_ms = now.since_ms(self.now);
        // New tasks need new numbers: answers to old ones may still come.
        whole.next_task = whole.next_task.max(self.next_task);
        whole.frozen = self.frozen.clone().or(whole.frozen);
        // The event that the journal is back comes next and writes what a restart must know.
        whole.journal_fails.clone_from(&self.journal_fails);
        whole.leaving = self.leaving;
        whole.paged.extend(self.paged.iter().cloned());
        whole.paged_beside.clone_from(&self.paged_beside);
        whole.raised.extend(self.raised.clone());
        whole.last_error = self.last_error.clone().or(whole.last_error);
        whole.take_errands(&self.errands, ahead_ms);
        whole.take_incident(self, ahead_ms);
        for region in &self.stopped {
            whole.hold_back(region, &Command::Abort);
        }
        whole
    }

    fn take_errands(&mut self, others: &[Errand], ahead_ms: u64) {
        let is_new = |other: &&Errand| !self.errands.iter().any(|own| own.replaces(other));
        let new: Vec<Errand> = others.iter().filter(is_new).map(|other| other.later(ahead_ms)).collect();
        self.errands.extend(new);
    }

    /// Goes on with the incident of `other` unless the journal has one. What a person said counts in both cases.
    fn take_incident(&mut self, other: &Self, ahead_ms: u64) {
        let Some(Incident { head, state }) = &other.incident else { return };
        let is_known = self.incident.is_some() || self.is_left_alone(&head.region);
        match state {
            _ if !is_known => {
                let mut head = head.clone();
                head.opened_at = head.opened_at.after_ms(ahead_ms);
                head.since = head.since.after_ms(ahead_ms);
                self.last_incident = Some(head.id.clone());
                self.incident = Some(Incident { head, state: state.clone().later(ahead_ms) });
            }
            State::Declined { .. } => self.hold_back(&head.region, &Command::Decline),
            State::Ended { .. } | State::Reported => self.hold_back(&head.region, &Command::Abort),
            _ => {}
        }
    }

    /// A person said no to what is done about `region`, or its time was over.
    fn hold_back(&mut self, region: &Region, order: &Command) {
        let is_ours = |incident: &Incident| incident.head.region == *region && !incident.head.is_drill();
        if !self.incident.as_ref().is_some_and(is_ours) {
            self.spent.insert(region.clone());
            return;
        }
        let id = self.incident.as_ref().map(|incident| incident.head.id.clone());
        let is_declined = *order == Command::Decline && self.decline(SOMEBODY).is_ok();
        let is_stopped = is_declined || self.abort(SOMEBODY).is_ok();
        if is_stopped {
            let command = if is_declined { Command::Decline } else { Command::Abort };
            let (command, who) = (command.name().to_owned(), SOMEBODY.to_owned());
            self.journal(id.as_ref(), Entry::Command { command, who });
        }
    }
}

impl State {
    /// The same with all its times moved on.
    fn later(self, ms: u64) -> Self {
        match self {
            Self::Suspect { page_at } => Self::Suspect { page_at: page_at.after_ms(ms) },
            Self::Paged { until, act_at } => {
                Self::Paged { until: until.after_ms(ms), act_at: act_at.after_ms(ms) }
            }
            Self::Declined { until } => Self::Declined { until: until.after_ms(ms) },
            Self::Ended(Reporting { ending, until, tries }) => {
                Self::Ended(Reporting { ending, until: until.after_ms(ms), tries: tries.later(ms) })
            }
            // Without a journal no other state is reached.
            other => other,
        }
    }
}
