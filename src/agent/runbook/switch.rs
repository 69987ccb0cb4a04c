//! The change of the record: Switching.

use super::action::Work;
use super::detect::{Scope, intended, not_ours, set_with};
use super::event::{Ended, Failure};
use super::guard::{before_a_write, is_fresh, set_without};
use super::incident::{
    Arrived, Change, Head, MAX_WRITES, Next, Pass, Reading, Run, Settling, Showing, Stage, State, Stop,
    Validating, Writing,
};
use super::ledger::{Switch, is_same};
use super::machine::{Owed, Runbook};
use super::record_set::{Layout, RegionSet, in_words};
use super::tries::Tries;
use crate::agent::types::{Cause, RecordState, UnixMs};

/// What comes of reading the record right before the write.
enum Intent {
    /// This is to be written.
    Write(Change),
    /// Something stands against it that may go away.
    NotYet,
    /// The run ends, or goes on elsewhere.
    Ends(Next),
}

impl Runbook {
    pub(super) fn switching(
        &mut self,
        head: &mut Head,
        run: Run,
        stage: Stage,
        arrived: &mut Arrived,
    ) -> Next {
        match stage {
            Stage::Reading(stage) => self.read_before(head, run, stage, arrived),
            Stage::Writing(stage) => self.write(head, run, stage, arrived),
            Stage::Settling(stage) => self.settle(head, run, stage, arrived),
            Stage::Showing(stage) => self.show(head, run, stage, arrived),
        }
    }

    fn read_before(&mut self, head: &mut Head, run: Run, mut stage: Reading, arrived: &mut Arrived) -> Next {
        if let Some(why) = self.has_healed(head) {
            return Next::Close(why);
        }
        if self.now >= run.until {
            return self.out_of_time(head, &run);
        }
        if matches!(stage.tries, Tries::Pausing { .. }) && !is_fresh(&self.facts(), &stage.pass) {
            let why = format!("the preflight of {} is too old: it is looked at again", run.target);
            return Next::To(State::Preflight { run, tries: Tries::first(self.now) }, why);
        }
        let timeout_ms = self.config.timing.read_timeout_ms;
        let ended = self.attempt(Some(head), &mut stage.tries, arrived, timeout_ms, || Work::ReadRecord);
        match ended {
            None => return Next::switching(run, Stage::Reading(stage)),
            Some(Ended::Found(found)) => match self.intend(head, &run, &stage.pass, found) {
                Intent::Write(change) => return self.begin_write(head, run, change, stage.attempt),
                Intent::Ends(next) => return next,
                Intent::NotYet => {}
            },
            Some(Ended::Failed { failure: Failure::Refused, why }) => {
                return self.hand_over(&format!("the record cannot be read, and nothing was changed: {why}"));
            }
            Some(Ended::Failed { why, .. }) => self.cannot_read(&why),
            Some(Ended::Done { .. }) => {}
        }
        let tries = self.again(stage.tries);
        Next::switching(run, Stage::Reading(Reading { tries, ..stage }))
    }

    /// What to do, given the record as it was read.
    fn intend(&mut self, head: &mut Head, run: &Run, pass: &Pass, found: RecordState) -> Intent {
        if let Some(next) = self.is_settled_already(head, run, &found) {
            return Intent::Ends(next);
        }
        let Some(before) = self.layout_of(head).set_of(&found) else {
            return Intent::Ends(self.hand_over(&not_ours(&found)));
        };
        let (after, wanted) = self.wanted_of(head, run, &found, &before);
        let scope = Scope { target: run.target.clone(), before, after };
        let objections = before_a_write(&self.facts(), &intended(head, &run.approval, &scope), pass, &wanted);
        if head.is_drill() && !scope.before.contains(&head.region) {
            return Intent::Ends(self.hand_over(&format!(
                "the shadow record leads to {}: run the drill on a node of another region, or set the shadow \
                 record to lead to {}",
                in_words(&scope.before),
                head.region
            )));
        }
        if objections.is_empty() {
            return Intent::Write(Change {
                expected: found,
                wanted,
                before: scope.before,
                after: scope.after,
            });
        }
        self.last_error = Some(objections.join("; "));
        Intent::NotYet
    }

    /// Whether the record as it was read ends the run.
    fn is_settled_already(&mut self, head: &mut Head, run: &Run, found: &RecordState) -> Option<Next> {
        if head.is_drill() {
            return None;
        }
        self.saw_record(found.clone());
        if let Some(change) = self.shows_late(head) {
            return Some(self.written(head, run.clone(), change));
        }
        if let Some(why) = self.comes_to_nothing(head) {
            return Some(Next::Close(why));
        }
        self.gives_way(head, run)
    }

    const fn layout_of(&self, head: &Head) -> &Layout {
        if matches!(head.cause, Cause::Drill) { &self.shadow } else { &self.live }
    }

    /// The regions that serve afterwards, and the record that leads there.
    fn wanted_of(
        &self,
        head: &Head,
        run: &Run,
        found: &RecordState,
        before: &RegionSet,
    ) -> (RegionSet, RecordState) {
        let after = match &head.undoes {
            Some(Owed { change, .. }) => set_with(&head.region, change),
            None => set_without(&self.assessment, &head.region, &run.target, before),
        };
        let wanted = match &head.undoes {
            // Put back as it was, with all that the layout does not know.
            Some(Owed { change, .. }) if after == change.before => change.expected.clone(),
            _ => self.layout_of(head).with(found, &after),
        };
        (after, wanted)
    }

    /// The change that this incident took for undone, if the record shows it after all.
    pub(super) fn shows_late(&self, head: &Head) -> Option<Change> {
        let switch = self.ledger.switch_of(&head.id)?;
        let (at, found) = self.record.as_ref()?;
        if *at < switch.at || !is_same(found, &switch.wanted) || is_same(&switch.expected, &switch.wanted) {
            return None;
        }
        let (before, after) = (self.live.set_of(&switch.expected)?, self.live.set_of(&switch.wanted)?);
        Some(Change { expected: switch.expected.clone(), wanted: switch.wanted.clone(), before, after })
    }

    /// Goes on with such a change as if it had been answered.
    pub(super) fn go_on_with(&mut self, head: &mut Head, run: Run, change: Change) -> Next {
        let why = format!("the record leads to {}: the write took effect late", in_words(&change.after));
        match self.written(head, run, change) {
            Next::Stay(state) => Next::To(state, why),
            next => next,
        }
    }

    fn begin_write(&mut self, head: &mut Head, run: Run, change: Change, attempt: u32) -> Next {
        if self.config.dry_run {
            let why = format!(
                "dry run: the record would be changed from {} to {}, and was not",
                in_words(&change.before),
                in_words(&change.after)
            );
            self.tell_would_change(head, &why, &change);
            return self.hand_over(&why);
        }
        if attempt > MAX_WRITES {
            let why = self.last_error.clone().unwrap_or_default();
            return self.hand_over(&format!("the record could not be written, and is the old one: {why}"));
        }
        if !head.is_drill() {
            self.ledger.announce(Switch {
                at: self.now,
                incident: head.id.clone(),
                expected: change.expected.clone(),
                wanted: change.wanted.clone(),
            });
        }
        let work = Work::WriteRecord { expected: change.expected.clone(), wanted: change.wanted.clone() };
        let tries = self.perform(head.about(), attempt, self.config.timing.write_timeout_ms, work);
        Next::switching(run, Stage::Writing(Writing { change, tries }))
    }

    fn write(&mut self, head: &mut Head, run: Run, stage: Writing, arrived: &mut Arrived) -> Next {
        let (failure, why) = match self.take_end(stage.tries, arrived) {
            None => return Next::switching(run, Stage::Writing(stage)),
            Some(Ended::Done { .. }) => return self.written(head, run, stage.change),
            Some(Ended::Found(_)) => (Failure::Unknown, "it is not known what the write did".to_owned()),
            Some(Ended::Failed { failure, why }) => (failure, why),
        };
        let Writing { change, tries } = stage;
        self.last_error = Some(format!("the record was not written: {why}"));
        match failure {
            Failure::Refused => self.hand_over(&format!("the record was not changed: {why}")),
            Failure::Conflict(found) => self.conflict(head, &found, &why),
            Failure::NotDone | Failure::Throttled { .. } if head.stop.is_some() => {
                self.stopped(head, &change, false)
            }
            Failure::NotDone | Failure::Throttled { .. } => {
                let until = self.again(tries).deadline();
                self.read_again_before(head, run, tries.attempt() + 1, until)
            }
            Failure::Unknown => {
                let until = self.now.after_ms(self.config.timing.run_ms);
                let (attempt, tries) = (tries.attempt(), Tries::first(self.now));
                Next::switching(run, Stage::Settling(Settling { change, attempt, until, tries }))
            }
        }
    }

    /// Back to reading, which checks that the preflight is still recent: it ended when this state began.
    fn read_again_before(&self, head: &Head, run: Run, attempt: u32, until: UnixMs) -> Next {
        let pass = Pass { target: run.target.clone(), at: head.since };
        let tries = Tries::Pausing { attempt: 1, until };
        Next::switching(run, Stage::Reading(Reading { pass, attempt, tries }))
    }

    fn conflict(&mut self, head: &Head, found: &RecordState, why: &str) -> Next {
        if !head.is_drill() {
            self.saw_record(found.clone());
            if let Some(nothing) = self.comes_to_nothing(head) {
                return Next::Close(nothing);
            }
        }
        self.hand_over(&format!("somebody else changed the record, so it was left alone: {why}"))
    }

    /// Nobody knows what the write did, so the record is read; it is not written again before.
    fn settle(&mut self, head: &mut Head, run: Run, mut stage: Settling, arrived: &mut Arrived) -> Next {
        let timeout_ms = self.config.timing.read_timeout_ms;
        let ended = self.attempt(Some(head), &mut stage.tries, arrived, timeout_ms, || Work::ReadRecord);
        if let Some(Ended::Found(found)) = &ended {
            return self.settled(head, run, stage, found);
        }
        if self.now >= stage.until {
            let why = self.last_error.clone().unwrap_or_default();
            return self.hand_over(&format!(
                "nobody knows whether the record was changed to {}: look at it at the provider. {why}",
                in_words(&stage.change.after)
            ));
        }
        if let Some(Ended::Failed { why, .. }) = &ended {
            self.cannot_read(why);
        }
        if ended.is_some() {
            stage.tries = self.again(stage.tries);
        }
        Next::switching(run, Stage::Settling(stage))
    }

    /// The record that was read shows what the write did.
    fn settled(&mut self, head: &mut Head, run: Run, stage: Settling, found: &RecordState) -> Next {
        let Settling { change, attempt, .. } = stage;
        if is_same(found, &change.wanted) {
            if !head.is_drill() {
                // The journal has no outcome of the write that says so.
                self.saw_record(found.clone());
            }
            return self.written(head, run, change);
        }
        if !is_same(found, &change.expected) {
            return self.conflict(head, found, "it is neither as it was nor as it was to become");
        }
        if head.stop.is_some() {
            return self.stopped(head, &change, false);
        }
        if self.is_in_doubt(head) {
            return self.hand_over(&format!(
                "the record leads to {}, long after it was to be changed: the write had no effect, or \
                 somebody put it back. `failover start` moves traffic",
                in_words(&change.before)
            ));
        }
        // A provider may show a change that it took a moment later.
        let until = self.again(Tries::Pausing { attempt, until: self.now }).deadline();
        self.read_again_before(head, run, attempt + 1, until)
    }

    /// Whether the write was announced so long ago that somebody may have changed the record since.
    fn is_in_doubt(&self, head: &Head) -> bool {
        let announced = self.ledger.switch_of(&head.id).map(|switch| switch.at);
        announced.is_some_and(|at| self.now.since_ms(at) > self.config.timing.doubt_ms())
    }

    /// The record is as wanted.
    fn written(&mut self, head: &mut Head, run: Run, change: Change) -> Next {
        if !head.is_drill() {
            self.record = Some((self.now, change.wanted.clone()));
        }
        if head.stop.is_some() {
            return self.stopped(head, &change, true);
        }
        let until = self.now.after_ms(self.config.timing.visible_ms);
        Next::switching(run, Stage::Showing(Showing { change, until, tries: Tries::first(self.now) }))
    }

    /// A person wanted it stopped while the write was on its way.
    fn stopped(&mut self, head: &mut Head, change: &Change, is_written: bool) -> Next {
        let is = if is_written { in_words(&change.after) } else { in_words(&change.before) };
        match head.stop.take() {
            Some(Stop::Rollback(who)) if is_written => {
                self.undo(head, change.clone(), &format!("{who} asked to put the record back"))
            }
            Some(Stop::Abort(who) | Stop::Rollback(who)) => {
                self.hand_over(&format!("stopped by {who}; the record leads to {is}"))
            }
            None => self.hand_over(&format!("stopped; the record leads to {is}")),
        }
    }

    fn show(&mut self, head: &mut Head, run: Run, mut stage: Showing, arrived: &mut Arrived) -> Next {
        if head.stop.is_some() {
            // The agent was restarted right after the write.
            return self.stopped(head, &stage.change, true);
        }
        let timeout_ms = self.config.timing.look_timeout_ms;
        let wanted = stage.change.wanted.clone();
        let work = || Work::AwaitVisible { wanted };
        let ended = self.attempt(Some(head), &mut stage.tries, arrived, timeout_ms, work);
        if let Some(Ended::Done { detail }) = ended {
            let why = format!("the record leads to {}: {detail}", in_words(&stage.change.after));
            let until = self.now.after_ms(self.config.timing.validating_ms);
            let (change, tries) = (stage.change, Tries::first(self.now));
            return Next::To(State::Validating(Validating { run, change, until, tries }), why);
        }
        if let Some(Ended::Failed { why, .. }) = &ended {
            self.last_error = Some(format!("the change does not show: {why}"));
        }
        if self.now >= stage.until {
            let last = self.last_error.clone().unwrap_or_default();
            return self.undo(head, stage.change, &format!("the change did not show in time ({last})"));
        }
        if ended.is_some() {
            stage.tries = self.again(stage.tries);
        }
        Next::switching(run, Stage::Showing(stage))
    }
}
