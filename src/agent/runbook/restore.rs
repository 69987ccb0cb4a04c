//! Back to the record as it was: RollingBack.

use super::action::Work;
use super::event::{Ended, Failure};
use super::guard::{before_a_restore, only_lacks_a_look};
use super::incident::{Arrived, BackStage, Change, Ending, Head, Next, State};
use super::ledger::is_same;
use super::machine::Runbook;
use super::record_set::in_words;
use super::tries::Tries;
use crate::agent::types::UnixMs;

/// Putting back that had no effect is announced no more often.
const MAX_WRITES: u32 = 4;

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
        let stage = BackStage::Reading { attempt: 1, tries: Tries::first(self.now) };
        Next::To(State::RollingBack { change, until, stage }, why.to_owned())
    }

    pub(super) fn roll_back(
        &mut self,
        head: &mut Head,
        change: Change,
        until: UnixMs,
        stage: BackStage,
        arrived: &mut Arrived,
    ) -> Next {
        match stage {
            BackStage::Writing { tries } => self.restore(head, change, until, tries, arrived),
            BackStage::Reading { .. } if self.now >= until => {
                let last = self.last_error.clone().unwrap_or_default();
                self.hand_over(&format!(
                    "the record could not be put back in time: {last}. Look at it at the provider"
                ))
            }
            BackStage::Reading { attempt, tries } => {
                self.read_before_restore(head, change, (until, attempt), tries, arrived)
            }
        }
    }

    fn read_before_restore(
        &mut self,
        head: &mut Head,
        change: Change,
        (until, attempt): (UnixMs, u32),
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        let timeout_ms = self.config.timing.read_timeout_ms;
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::ReadRecord);
        match ended {
            Some(Ended::Found(found)) if is_same(&found, &change.expected) => {
                if !head.is_drill() {
                    // The journal may have no outcome of the write that says so.
                    self.saw_record(found);
                }
                self.restored(head, &change)
            }
            Some(Ended::Found(found)) if is_same(&found, &change.wanted) && attempt > 1 && self.is_restore_in_doubt() => {
                self.hand_over(&format!(
                    "the record leads to {}, long after it was put back: that had no effect, or somebody changed it \
                     again. Set it by hand",
                    in_words(&change.after)
                ))
            }
            Some(Ended::Found(found)) if is_same(&found, &change.wanted) => {
                self.begin_restore(head, change, (until, attempt), tries)
            }
            Some(Ended::Found(found)) => self.hand_over(&format!(
                "the record was not put back, since somebody else changed it: it holds {}. Set it by hand",
                found.values.join(", ")
            )),
            Some(Ended::Failed { why, .. }) => {
                self.last_error = Some(format!("the record cannot be read: {why}"));
                let stage = BackStage::Reading { attempt, tries: self.again(tries) };
                Next::Stay(State::RollingBack { change, until, stage })
            }
            Some(Ended::Done { .. }) => {
                let stage = BackStage::Reading { attempt, tries: self.again(tries) };
                Next::Stay(State::RollingBack { change, until, stage })
            }
            None => {
                Next::Stay(State::RollingBack { change, until, stage: BackStage::Reading { attempt, tries } })
            }
        }
    }

    /// Whether the announced restoring is so long ago that others may have followed it.
    fn is_restore_in_doubt(&self) -> bool {
        let announced = self.ledger.restored_at();
        announced.is_some_and(|at| self.now.since_ms(at) > self.config.timing.doubt_ms())
    }

    fn begin_restore(
        &mut self,
        head: &mut Head,
        change: Change,
        (until, attempt): (UnixMs, u32),
        tries: Tries,
    ) -> Next {
        let mut objections = before_a_restore(&self.facts(), &change, head.cause);
        if !objections.is_empty() && only_lacks_a_look(&self.facts(), &change) {
            self.last_error = Some(objections.join("; "));
            let stage = BackStage::Reading { attempt, tries: self.again(tries) };
            return Next::Stay(State::RollingBack { change, until, stage });
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
        let tries = self.perform(Some(head), attempt, self.config.timing.write_timeout_ms, work);
        Next::Stay(State::RollingBack { change, until, stage: BackStage::Writing { tries } })
    }

    fn restore(
        &mut self,
        head: &mut Head,
        change: Change,
        until: UnixMs,
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        let timeout_ms = self.config.timing.write_timeout_ms;
        // It is handed out already: this only takes its end.
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::ReadRecord);
        match ended {
            None => Next::Stay(State::RollingBack { change, until, stage: BackStage::Writing { tries } }),
            Some(Ended::Done { .. }) => self.restored(head, &change),
            Some(Ended::Failed { failure: Failure::Refused | Failure::Conflict(_), why }) => {
                self.hand_over(&format!("the record was not put back: {why}"))
            }
            // Whatever it did: reading tells, and only what is still there is put back.
            Some(Ended::Failed { why, .. }) => {
                self.last_error = Some(format!("the record was not put back: {why}"));
                self.read_again(change, until, tries)
            }
            Some(Ended::Found(_)) => self.read_again(change, until, tries),
        }
    }

    fn read_again(&self, change: Change, until: UnixMs, tries: Tries) -> Next {
        let pause = Tries::Pausing { attempt: 1, until: self.again(tries).deadline() };
        let stage = BackStage::Reading { attempt: tries.attempt() + 1, tries: pause };
        Next::Stay(State::RollingBack { change, until, stage })
    }

    fn restored(&mut self, head: &Head, change: &Change) -> Next {
        if !head.is_drill() {
            self.record = Some((self.now, change.expected.clone()));
        }
        let why = format!("the record leads to {} again", in_words(&change.before));
        Next::To(self.ended_state(Ending::RolledBack), why)
    }
}
