//! Back to the record as it was: RollingBack.

use super::action::Work;
use super::event::{Ended, Failure};
use super::guard::{before_a_restore, only_lacks_a_look};
use super::incident::{
    Arrived, BackReading, BackStage, Change, Ending, Head, MAX_WRITES, Next, RollingBack, State,
};
use super::ledger::is_same;
use super::machine::Runbook;
use super::record_set::in_words;
use super::tries::Tries;
use crate::agent::types::RecordState;

impl Runbook {
    /// Puts the record back for this reason, unless that would be worse.
    pub(super) fn undo(&mut self, head: &Head, change: Change, why: &str) -> Next {
        let objections = before_a_restore(&self.facts(), &change, head.cause);
        if !objections.is_empty() && !only_lacks_a_look(&self.facts(), &change) {
            return self.hand_over(&format!(
                "{why}; the record was not put back and leads to {}: {}",
                in_words(&change.after),
                objections.join("; ")
            ));
        }
        let until = self.now.after_ms(self.config.timing.rollback_ms);
        let stage = BackStage::Reading(BackReading { attempt: 1, tries: Tries::first(self.now) });
        Next::To(State::RollingBack(RollingBack { change, until, stage }), why.to_owned())
    }

    pub(super) fn roll_back(&mut self, head: &mut Head, state: RollingBack, arrived: &mut Arrived) -> Next {
        match state.stage {
            BackStage::Writing { tries } => self.restore(head, state, tries, arrived),
            BackStage::Reading(_) if self.now >= state.until => {
                let last = self.last_error.clone().unwrap_or_default();
                self.hand_over(&format!(
                    "the record could not be put back in time: {last}. Look at it at the provider"
                ))
            }
            BackStage::Reading(reading) => self.read_before_restore(head, state, reading, arrived),
        }
    }

    fn read_before_restore(
        &mut self,
        head: &mut Head,
        state: RollingBack,
        mut reading: BackReading,
        arrived: &mut Arrived,
    ) -> Next {
        let timeout_ms = self.config.timing.read_timeout_ms;
        match self.attempt(Some(head), &mut reading.tries, arrived, timeout_ms, || Work::ReadRecord) {
            Some(Ended::Found(found)) => return self.found_before_restore(head, state, reading, found),
            Some(Ended::Failed { why, .. }) => {
                self.cannot_read(&why);
                reading.tries = self.again(reading.tries);
            }
            Some(Ended::Done { .. }) => reading.tries = self.again(reading.tries),
            None => {}
        }
        Next::Stay(State::RollingBack(RollingBack { stage: BackStage::Reading(reading), ..state }))
    }

    /// The record as it was found decides whether it is put back.
    fn found_before_restore(
        &mut self,
        head: &mut Head,
        state: RollingBack,
        reading: BackReading,
        found: RecordState,
    ) -> Next {
        let change = &state.change;
        if is_same(&found, &change.expected) {
            if !head.is_drill() {
                // The journal may have no outcome of the write that says so.
                self.saw_record(found);
            }
            return self.restored(head, change);
        }
        if !is_same(&found, &change.wanted) {
            return self.hand_over(&format!(
                "the record was not put back, since somebody else changed it: it holds {}. Set it by hand",
                found.values.join(", ")
            ));
        }
        if reading.attempt > 1 && self.is_restore_in_doubt() {
            return self.hand_over(&format!(
                "the record leads to {}, long after it was put back: that had no effect, or somebody changed \
                 it again. Set it by hand",
                in_words(&change.after)
            ));
        }
        self.begin_restore(head, state, reading)
    }

    /// Whether the restore was announced so long ago that somebody may have changed the record since.
    fn is_restore_in_doubt(&self) -> bool {
        let announced = self.ledger.restored_at();
        announced.is_some_and(|at| self.now.since_ms(at) > self.config.timing.doubt_ms())
    }

    fn begin_restore(&mut self, head: &mut Head, state: RollingBack, reading: BackReading) -> Next {
        let BackReading { attempt, tries } = reading;
        let change = &state.change;
        let mut objections = before_a_restore(&self.facts(), change, head.cause);
        if !objections.is_empty() && only_lacks_a_look(&self.facts(), change) {
            self.last_error = Some(objections.join("; "));
            let stage = BackStage::Reading(BackReading { attempt, tries: self.again(tries) });
            return Next::Stay(State::RollingBack(RollingBack { stage, ..state }));
        }
        if attempt > MAX_WRITES {
            objections.extend(self.last_error.clone());
        }
        if !objections.is_empty() {
            return self.hand_over(&format!(
                "the record was not put back and leads to {}: {}",
                in_words(&change.after),
                objections.join("; ")
            ));
        }
        if !head.is_drill() {
            self.ledger.announce_restore(self.now, change.expected.clone());
        }
        let work = Work::RestoreRecord { expected: change.wanted.clone(), wanted: change.expected.clone() };
        let tries = self.perform(head.about(), attempt, self.config.timing.write_timeout_ms, work);
        Next::Stay(State::RollingBack(RollingBack { stage: BackStage::Writing { tries }, ..state }))
    }

    fn restore(&mut self, head: &mut Head, state: RollingBack, tries: Tries, arrived: &mut Arrived) -> Next {
        match self.take_end(tries, arrived) {
            None => return Next::Stay(State::RollingBack(state)),
            Some(Ended::Done { .. }) => return self.restored(head, &state.change),
            Some(Ended::Failed { failure: Failure::Refused | Failure::Conflict(_), why }) => {
                return self.hand_over(&format!("the record was not put back: {why}"));
            }
            Some(Ended::Failed { failure, why }) => {
                self.last_error = Some(format!("the record was not put back: {why}"));
                if matches!(failure, Failure::Throttled { .. }) && !head.is_drill() {
                    // It surely had no effect, so the wait is no reason for doubt.
                    self.ledger.put_off_restore(self.throttled_until);
                }
            }
            Some(Ended::Found(_)) => {}
        }
        // Whatever the write did, the next read shows it.
        let pause = Tries::Pausing { attempt: 1, until: self.again(tries).deadline() };
        let stage = BackStage::Reading(BackReading { attempt: tries.attempt() + 1, tries: pause });
        Next::Stay(State::RollingBack(RollingBack { stage, ..state }))
    }

    fn restored(&mut self, head: &Head, change: &Change) -> Next {
        if !head.is_drill() {
            self.record = Some((self.now, change.expected.clone()));
        }
        let why = format!("the record leads to {} again", in_words(&change.before));
        Next::To(self.ended_state(Ending::RolledBack), why)
    }
}
