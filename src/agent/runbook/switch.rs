//! The change of the record: Switching.

use super::action::Work;
use super::detect::{Scope, intended, not_ours, set_with};
use super::event::{Ended, Failure};
use super::guard::{before_a_write, is_fresh};
use super::incident::{Arrived, Change, Head, Next, Pass, Run, Stage, State, Stop};
use super::ledger::{Switch, is_same};
use super::machine::{Owed, Runbook};
use super::record_set::in_words;
use super::tries::Tries;
use crate::agent::types::{RecordState, UnixMs};

/// A write that had no effect is announced no more often.
const MAX_WRITES: u32 = 4;

impl Runbook {
    pub(super) fn switching(
        &mut self,
        head: &mut Head,
        run: Run,
        stage: Stage,
        arrived: &mut Arrived,
    ) -> Next {
        match stage {
            Stage::Reading { pass, tries, attempt } => {
                self.read_before(head, run, (pass, attempt), tries, arrived)
            }
            Stage::Writing { change, tries } => self.write(head, run, change, tries, arrived),
            Stage::Settling { change, attempt, until, tries } => {
                self.settle(head, run, (change, attempt, until), tries, arrived)
            }
            Stage::Showing { change, until, tries } => self.show(head, run, (change, until), tries, arrived),
        }
    }

    fn read_before(
        &mut self,
        head: &mut Head,
        run: Run,
        (pass, attempt): (Pass, u32),
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        if let Some(why) = self.has_healed(head) {
            return Next::Close(why);
        }
        if self.now >= run.until {
            return self.out_of_time(head, &run);
        }
        if matches!(tries, Tries::Pausing { .. }) && !is_fresh(&self.facts(), &pass) {
            let why = format!("the preflight of {} is too old: it is looked at again", run.target.0);
            return Next::To(State::Preflight { run, tries: Tries::first(self.now) }, why);
        }
        let timeout_ms = self.config.timing.read_timeout_ms;
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::ReadRecord);
        let stay = |run, tries| {
            Next::Stay(State::Switching { run, stage: Stage::Reading { pass: pass.clone(), tries, attempt } })
        };
        match ended {
            None => stay(run, tries),
            Some(Ended::Found(found)) => match self.intend(head, &run, &pass, found) {
                Ok(change) => self.begin_write(head, run, change, attempt),
                Err(Some(next)) => *next,
                Err(None) => stay(run, self.again(tries)),
            },
            Some(Ended::Failed { failure: Failure::Refused, why }) => {
                self.hand_over(&format!("the record cannot be read, and nothing was changed: {why}"))
            }
            Some(Ended::Failed { why, .. }) => {
                self.last_error = Some(format!("the record cannot be read: {why}"));
                stay(run, self.again(tries))
            }
            Some(Ended::Done { .. }) => stay(run, self.again(tries)),
        }
    }

    /// The change to make of the record as it was found; else what becomes of the incident, or nothing yet.
    fn intend(
        &mut self,
        head: &mut Head,
        run: &Run,
        pass: &Pass,
        found: RecordState,
    ) -> Result<Change, Option<Box<Next>>> {
        if !head.is_drill() {
            self.saw_record(found.clone());
            if let Some(change) = self.shows_late(head) {
                return Err(Some(Box::new(self.written(head, run.clone(), change))));
            }
            if let Some(why) = self.comes_to_nothing(head) {
                return Err(Some(Box::new(Next::Close(why))));
            }
            if let Some(next) = self.gives_way(head, run) {
                return Err(Some(Box::new(next)));
            }
        }
        let layout = if head.is_drill() { &self.shadow } else { &self.live };
        let Some(before) = layout.set_of(&found) else {
            return Err(Some(Box::new(self.hand_over(&not_ours(&found)))));
        };
        let (after, wanted) = match &head.undoes {
            Some(Owed { change: undoes, .. }) => {
                let after = set_with(&head.region, undoes);
                let whole = after == undoes.before;
                let wanted = if whole { undoes.expected.clone() } else { layout.with(&found, &after) };
                (after, wanted)
            }
            None => {
                let after = super::guard::set_without(&self.assessment, &head.region, &run.target, &before);
                let wanted = layout.with(&found, &after);
                (after, wanted)
            }
        };
        let scope = Scope { target: run.target.clone(), before, after };
        let objections = before_a_write(&self.facts(), &intended(head, &run.approval, &scope), pass, &wanted);
        let change = Change { expected: found, wanted, before: scope.before, after: scope.after };
        if head.is_drill() && !change.before.contains(&head.region) {
            let why = format!(
                "the shadow record leads to {}: run the drill on a node of another region, or set the shadow \
                 record to lead to {}",
                in_words(&change.before),
                head.region.0
            );
            return Err(Some(Box::new(self.hand_over(&why))));
        }
        if objections.is_empty() {
            return Ok(change);
        }
        self.last_error = Some(objections.join("; "));
        Err(None)
    }

    /// What this incident announced and believed undone, when the record shows it after all.
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
        let tries = self.perform(Some(head), attempt, self.config.timing.write_timeout_ms, work);
        Next::Stay(State::Switching { run, stage: Stage::Writing { change, tries } })
    }

    fn write(
        &mut self,
        head: &mut Head,
        run: Run,
        change: Change,
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        let attempt = tries.attempt();
        let timeout_ms = self.config.timing.write_timeout_ms;
        // It is handed out already: this only takes its end.
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::ReadRecord);
        let (failure, why) = match ended {
            None => return Next::Stay(State::Switching { run, stage: Stage::Writing { change, tries } }),
            Some(Ended::Done { .. }) => return self.written(head, run, change),
            Some(Ended::Found(_)) => (Failure::Unknown, "it is not known what the write did".to_owned()),
            Some(Ended::Failed { failure, why }) => (failure, why),
        };
        self.last_error = Some(format!("the record was not written: {why}"));
        match failure {
            Failure::Refused => self.hand_over(&format!("the record was not changed: {why}")),
            Failure::Conflict(found) => self.conflict(head, &found, &why),
            Failure::NotDone if head.stop.is_some() => self.stopped(head, &change, false),
            Failure::NotDone => {
                // The pass is as old as the run; reading finds out whether it still counts.
                let pass = Pass { target: run.target.clone(), at: self.now_of_pass(head) };
                let tries = tries.again(self.now, &self.config.timing, self.salt);
                let tries = Tries::Pausing { attempt: 1, until: tries.deadline() };
                Next::Stay(State::Switching {
                    run,
                    stage: Stage::Reading { pass, tries, attempt: attempt + 1 },
                })
            }
            Failure::Unknown => {
                let until = self.now.after_ms(self.config.timing.run_ms);
                let stage = Stage::Settling { change, attempt, until, tries: Tries::first(self.now) };
                Next::Stay(State::Switching { run, stage })
            }
        }
    }

    /// The state Switching begins with a pass.
    const fn now_of_pass(&self, head: &Head) -> UnixMs {
        head.since
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
    fn settle(
        &mut self,
        head: &mut Head,
        run: Run,
        (change, attempt, until): (Change, u32, UnixMs),
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        let timeout_ms = self.config.timing.read_timeout_ms;
        let ended = self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::ReadRecord);
        if let Some(Ended::Found(found)) = &ended {
            if is_same(found, &change.wanted) {
                if !head.is_drill() {
                    // The journal has no outcome of the write that says so.
                    self.saw_record(found.clone());
                }
                return self.written(head, run, change);
            }
            if is_same(found, &change.expected) {
                if head.stop.is_some() {
                    return self.stopped(head, &change, false);
                }
                if self.is_in_doubt(head) {
                    return self.hand_over(&format!(
                        "the record leads to {}, long after it was to be changed: the write had no effect, or somebody \
                         put it back. `failover start` moves traffic",
                        in_words(&change.before)
                    ));
                }
                let pass = Pass { target: run.target.clone(), at: self.now_of_pass(head) };
                let stage = Stage::Reading { pass, tries: Tries::first(self.now), attempt: attempt + 1 };
                return Next::Stay(State::Switching { run, stage });
            }
            return self.conflict(head, found, "it is neither as it was nor as it was to become");
        }
        if self.now >= until {
            let why = self.last_error.clone().unwrap_or_default();
            return self.hand_over(&format!(
                "nobody knows whether the record was changed to {}: look at it at the provider. {why}",
                in_words(&change.after)
            ));
        }
        if let Some(Ended::Failed { why, .. }) = &ended {
            self.last_error = Some(format!("the record cannot be read: {why}"));
        }
        let tries = if ended.is_some() { self.again(tries) } else { tries };
        Next::Stay(State::Switching { run, stage: Stage::Settling { change, attempt, until, tries } })
    }

    /// Whether the announced write is so long ago that others may have followed it.
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
        let stage = Stage::Showing { change, until, tries: Tries::first(self.now) };
        Next::Stay(State::Switching { run, stage })
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

    fn show(
        &mut self,
        head: &mut Head,
        run: Run,
        (change, until): (Change, UnixMs),
        mut tries: Tries,
        arrived: &mut Arrived,
    ) -> Next {
        if head.stop.is_some() {
            // The agent was restarted between the end of the write and what was to follow it.
            return self.stopped(head, &change, true);
        }
        let timeout_ms = self.config.timing.look_timeout_ms;
        let wanted = change.wanted.clone();
        let ended =
            self.attempt(Some(head), &mut tries, arrived, timeout_ms, || Work::AwaitVisible { wanted });
        if let Some(Ended::Done { detail }) = ended {
            let why = format!("the record leads to {}: {detail}", in_words(&change.after));
            let until = self.now.after_ms(self.config.timing.validating_ms);
            return Next::To(State::Validating { run, change, until, tries: Tries::first(self.now) }, why);
        }
        if let Some(Ended::Failed { why, .. }) = &ended {
            self.last_error = Some(format!("the change does not show: {why}"));
        }
        if self.now >= until {
            let last = self.last_error.clone().unwrap_or_default();
            return self.undo(head, change, &format!("the change did not show in time ({last})"));
        }
        let tries = if ended.is_some() { self.again(tries) } else { tries };
        Next::Stay(State::Switching { run, stage: Stage::Showing { change, until, tries } })
    }
}
