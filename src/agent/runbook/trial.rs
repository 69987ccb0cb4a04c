//! Tries the target: Preflight before the switch, Validating after it.

use super::action::Work;
use super::event::{Ended, Failure};
use super::incident::{Arrived, Change, Ending, Head, Next, Pass, Reading, Run, Stage, State, Validating};
use super::machine::{Owed, Runbook};
use super::record_set::{RegionSet, in_words};
use super::tries::Tries;
use crate::agent::types::Cause;

/// After so many failures a target does not take over. A check that got no answer does not count.
const MAX_PREFLIGHTS: u32 = 3;
/// After so many failed trials under the public name the record is put back.
const MAX_TRIALS: u32 = 2;

impl Runbook {
    pub(super) fn preflight(
        &mut self,
        head: &mut Head,
        run: Run,
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        if let Some(change) = self.shows_late(head) {
            return self.go_on_with(head, run, change);
        }
        if let Some(why) = self.comes_to_nothing(head) {
            return Next::Close(why);
        }
        if self.now >= run.until {
            return self.out_of_time(head, &run);
        }
        let is_due = matches!(tries, Tries::Pausing { .. });
        if let Some(next) = self.gives_way(head, &run).filter(|_| is_due) {
            return next;
        }
        if is_due && !self.objections(head, &run.approval).is_empty() {
            return Next::Stay(State::Preflight { run, tries });
        }
        let timeout_ms = self.config.timing.preflight_timeout_ms;
        let (target, is_overdue) = (run.target.clone(), tries.is_overdue(self.now));
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::Preflight { target });
        // After this process stood still, what was seen before says nothing of now.
        let late = || Ended::unknown("its answer came too late to count");
        match ended.map(|ended| if is_overdue { late() } else { ended }) {
            None => Next::Stay(State::Preflight { run, tries }),
            Some(Ended::Failed { failure: Failure::NotDone | Failure::Unknown, why }) => {
                self.last_error = Some(format!("preflight of {}: {why}", run.target));
                let tries = tries.uncounted(self.now, &self.config.timing, self.salt);
                Next::Stay(State::Preflight { run, tries })
            }
            Some(Ended::Failed { why, .. }) if tries.attempt() >= MAX_PREFLIGHTS => self.hand_over(&format!(
                "{} did not pass preflight, so traffic stays where it is: {why}. Mend {0}, or choose another \
                 region by `failover start`",
                run.target
            )),
            Some(Ended::Failed { why, .. }) => {
                self.last_error = Some(format!("preflight of {}: {why}", run.target));
                Next::Stay(State::Preflight { run, tries: self.again(tries) })
            }
            Some(Ended::Done { detail }) => {
                let why = format!("{} passed preflight: {detail}", run.target);
                let pass = Pass { target: run.target.clone(), at: self.now };
                let stage = Stage::Reading(Reading { pass, attempt: 1, tries: Tries::first(self.now) });
                Next::To(State::Switching { run, stage }, why)
            }
            Some(Ended::Found(_)) => Next::Stay(State::Preflight { run, tries: self.again(tries) }),
        }
    }

    pub(super) fn out_of_time(&self, head: &Head, run: &Run) -> Next {
        let mut why = "the run did not come to its write in time, and nothing was changed".to_owned();
        let objections = self.objections(head, &run.approval);
        for reason in objections.iter().chain(self.last_error.as_ref().filter(|_| objections.is_empty())) {
            why = format!("{why}; {reason}");
        }
        self.hand_over(&why)
    }

    pub(super) fn validating(
        &mut self,
        head: &mut Head,
        mut state: Validating,
        arrived: &mut Arrived,
    ) -> Next {
        let timeout_ms = self.config.timing.validate_timeout_ms;
        let work = Work::Validate {
            target: state.run.target.clone(),
            record: state.change.wanted.clone(),
            before: state.change.expected.clone(),
        };
        match self.attempt(Some(head), &mut state.tries, arrived, timeout_ms, || work) {
            Some(Ended::Done { detail }) => return self.validated(head, state.change, &detail),
            Some(Ended::Failed { why, .. }) if state.tries.attempt() >= MAX_TRIALS => {
                return self.undo(head, state.change, &format!("validation failed: {why}"));
            }
            Some(Ended::Failed { why, .. }) => {
                self.last_error = Some(format!("validation: {why}"));
                state.tries = self.again(state.tries);
            }
            Some(Ended::Found(_)) => state.tries = self.again(state.tries),
            None if self.now >= state.until => {
                return self.undo(head, state.change, "validation could not be done in time");
            }
            None => {}
        }
        Next::Stay(State::Validating(state))
    }

    /// The target serves under the public name.
    fn validated(&mut self, head: &mut Head, change: Change, detail: &str) -> Next {
        if head.is_drill() {
            let why = format!("the drill went well ({detail}); the shadow record goes back");
            return self.undo(head, change, &why);
        }
        let why = format!("{} serves: {detail}", in_words(&change.after));
        let is_switch = head.cause != Cause::Failback;
        self.owed = is_switch.then_some(Owed {
            region: head.region.clone(),
            change,
            is_automatic: head.cause == Cause::Signal,
            healthy_since: None,
        });
        Next::To(self.ended_state(Ending::Recovered), why)
    }

    /// Whether the record leads to a set of regions, for a person.
    pub(super) fn leads_to(set: Option<&RegionSet>) -> String {
        set.map_or_else(|| "nobody knows where".to_owned(), in_words)
    }
}
