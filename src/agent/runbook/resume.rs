//! Rebuilds the runbook from the lines of its journal.
//!
//! A write that was announced and has no outcome is settled by reading the record, never repeated blindly. A
//! page has its key, so sending it again is harmless.

use super::config::RunbookConfig;
use super::incident::{
    Approval, BackReading, BackStage, Change, Ending, Head, Incident, Pass, Reading, Reporting, RollingBack,
    Run, Settling, Showing, Stage, State, Stop, Validating,
};
use super::ledger::{Switch, is_same};
use super::machine::{Owed, Runbook};
use super::notice::{CHANGED, JOURNAL_FAILED};
use super::tries::Tries;
use crate::agent::types::{
    Cause, DOWN_PREFIX, Entry, FROZEN, IncidentId, PAGED_PREFIX, Phase, RecordState, Region, SPENT_PREFIX,
    Step, UnixMs,
};

/// The incident as the lines so far tell it.
#[derive(Clone, Debug)]
struct Open {
    id: IncidentId,
    plan: Plan,
    opened_at: UnixMs,
    phase: Phase,
    since: UnixMs,
    /// The run was approved then.
    run_since: UnixMs,
    write: Option<Announced>,
    restores: u32,
    undoes: Option<Owed>,
    is_over: bool,
    is_paged: bool,
    stop: Option<Stop>,
    /// What a page says: why it began, or why it ended.
    reason: String,
    rooms: Rooms,
}

/// What the rooms were told of the phase. Messages end in the order in which they were begun.
#[derive(Clone, Copy, Debug, Default)]
struct Rooms {
    on_their_way: u32,
    is_begun: bool,
    is_told: bool,
}

/// What it is about and what is to be done, as it was last written.
#[derive(Clone, Debug)]
struct Plan {
    region: Region,
    target: Option<Region>,
    cause: Cause,
    approved_by: String,
    is_asked: bool,
}

/// The last write that was announced.
#[derive(Clone, Debug)]
struct Announced {
    at: UnixMs,
    attempt: u32,
    expected: RecordState,
    wanted: RecordState,
    is_done: bool,
}

struct Replay {
    runbook: Runbook,
    open: Option<Open>,
}

impl Runbook {
    /// The runbook as the lines of its journal left it. Nothing is done until the first [`Self::handle`].
    #[must_use]
    pub fn resume(
        config: RunbookConfig,
        now: UnixMs,
        lines: impl IntoIterator<Item = (UnixMs, Option<IncidentId>, Entry)>,
    ) -> Self {
        let mut replay = Replay { runbook: Self::new(config, now), open: None };
        for (at, incident, entry) in lines {
            replay.see(at, incident, entry);
        }
        replay.finish(now)
    }
}

impl Replay {
    fn see(&mut self, at: UnixMs, incident: Option<IncidentId>, entry: Entry) {
        self.runbook.now = self.runbook.now.max(at);
        match entry {
            Entry::Signal { signal, raised, detail } => self.see_signal(at, &signal, raised, detail),
            Entry::Record { state } => self.see_record(at, state),
            Entry::Planned { region, target, cause, approved_by, asked, .. } => {
                let Some(id) = incident else { return };
                self.see_plan(at, id, Plan { region, target, cause, approved_by, is_asked: asked });
            }
            Entry::Moved { to, why, .. } => self.see_move(at, incident.as_ref(), to, why),
            Entry::Intent { step, attempt, expected: Some(expected), wanted: Some(wanted), .. } => {
                self.see_write(
                    at,
                    incident.as_ref(),
                    step,
                    Announced { at, attempt, expected, wanted, is_done: false },
                );
            }
            Entry::Intent { step: Step::Scale, .. } => self.runbook.scaled_at = Some(at),
            Entry::Intent { step: Step::Notify, .. } => {
                self.of(incident.as_ref()).into_iter().for_each(|open| open.rooms.see_begun());
            }
            Entry::Outcome { step, attempt, done, .. } => {
                self.see_outcome(at, incident.as_ref(), step, attempt, done);
            }
            // Messages from before the restart will have no outcome.
            Entry::Started { .. } => {
                self.open.iter_mut().for_each(|open| open.rooms.on_their_way = 0);
            }
            Entry::Command { command, who } => self.see_stop(incident.as_ref(), &command, who),
            _ => {}
        }
    }

    /// A person wanted it stopped after the call that was on its way.
    fn see_stop(&mut self, incident: Option<&IncidentId>, command: &str, who: String) {
        let Some(open) = self.of(incident) else { return };
        let is_on_its_way =
            open.phase == Phase::Switching && open.write.as_ref().is_some_and(|write| !write.is_done);
        open.stop = match command {
            "abort" if is_on_its_way => Some(Stop::Abort(who)),
            "rollback" if is_on_its_way => Some(Stop::Rollback(who)),
            _ => open.stop.take(),
        };
    }

    fn see_signal(&mut self, at: UnixMs, signal: &str, raised: bool, detail: String) {
        if signal == FROZEN {
            self.runbook.frozen = raised.then_some(detail);
        } else if signal == CHANGED {
            self.runbook.ledger.note_change(at);
        } else if let Some(region) = signal.strip_prefix(SPENT_PREFIX) {
            self.runbook.spent.insert(Region(region.to_owned()));
        } else if let Some(region) = signal.strip_prefix(PAGED_PREFIX) {
            self.runbook.paged.insert(Region(region.to_owned()));
        } else if let Some(region) = signal.strip_prefix(DOWN_PREFIX) {
            let region = Region(region.to_owned());
            if raised {
                self.runbook.down.entry(region).or_insert(at);
            } else {
                self.runbook.down.remove(&region);
                self.runbook.spent.remove(&region);
            }
        } else if signal != JOURNAL_FAILED {
            self.runbook.see_notice(at, signal, raised);
        }
    }

    fn see_record(&mut self, at: UnixMs, found: RecordState) {
        let known = self.runbook.record.as_ref().map(|(_, record)| record);
        if known.is_some_and(|known| !is_same(known, &found)) && !self.runbook.ledger.explains(&found) {
            self.runbook.ledger.note_change(at);
        }
        if self.runbook.owed.as_ref().is_some_and(|owed| !is_same(&owed.change.wanted, &found)) {
            self.runbook.owed = None;
        }
        self.runbook.record = Some((at, found));
    }

    fn see_plan(&mut self, at: UnixMs, id: IncidentId, plan: Plan) {
        self.runbook.last_incident = Some(id.clone());
        if let Some(open) = self.open.as_mut().filter(|open| open.id == id) {
            open.plan = plan;
            return;
        }
        self.see_end();
        let undoes = if plan.cause == Cause::Failback { self.runbook.owed.take() } else { None };
        self.open = Some(Open {
            id,
            plan,
            opened_at: at,
            phase: Phase::Watching,
            since: at,
            run_since: at,
            write: None,
            restores: 0,
            undoes,
            is_over: false,
            is_paged: false,
            stop: None,
            reason: String::new(),
            rooms: Rooms::default(),
        });
    }

    fn of(&mut self, incident: Option<&IncidentId>) -> Option<&mut Open> {
        self.open.as_mut().filter(|open| Some(&open.id) == incident)
    }

    fn see_move(&mut self, at: UnixMs, incident: Option<&IncidentId>, to: Phase, why: String) {
        // There is one incident at a time: if another moves, the end of the open one is missing.
        if self.open.as_ref().is_some_and(|open| Some(&open.id) != incident) {
            self.see_end();
        }
        let Some(open) = self.of(incident) else { return };
        if to == Phase::Preflight && open.phase != Phase::Switching {
            open.run_since = at;
        }
        if to != open.phase {
            let is_reason =
                matches!(to, Phase::Paged | Phase::Recovered | Phase::RolledBack | Phase::HandedOver);
            if is_reason || open.reason.is_empty() {
                open.reason = why;
            }
            (open.phase, open.since) = (to, at);
            (open.rooms.is_begun, open.rooms.is_told) = (false, false);
        }
        open.is_over |= matches!(to, Phase::HandedOver | Phase::RolledBack | Phase::Recovered);
        if matches!(to, Phase::Reported | Phase::Watching) {
            self.see_end();
        } else if to == Phase::Recovered {
            self.see_recovered();
        }
    }

    /// As [`Runbook::close`] leaves it.
    fn see_end(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.runbook.owe_again(&open.id, open.undoes, open.is_over);
        let is_about_health = matches!(open.plan.cause, Cause::Signal | Cause::Person);
        if is_about_health && self.runbook.down.contains_key(&open.plan.region) {
            self.runbook.spent.insert(open.plan.region.clone());
            if open.is_paged {
                self.runbook.paged.insert(open.plan.region);
            }
        }
    }

    fn see_recovered(&mut self) {
        let Some(open) = &self.open else { return };
        let change = open.write.as_ref().and_then(|write| change_of(&self.runbook, open.plan.cause, write));
        let region = open.plan.region.clone();
        let is_switch = matches!(open.plan.cause, Cause::Signal | Cause::Person);
        let is_automatic = open.plan.cause == Cause::Signal;
        self.runbook.owed = change.filter(|_| is_switch).map(|change| Owed {
            region,
            change,
            is_automatic,
            healthy_since: None,
        });
    }

    fn see_write(&mut self, at: UnixMs, incident: Option<&IncidentId>, step: Step, write: Announced) {
        let Some(open) = self.of(incident) else { return };
        let (id, is_live) = (open.id.clone(), open.plan.cause != Cause::Drill);
        if step == Step::RestoreRecord {
            open.restores = write.attempt;
            if is_live {
                self.runbook.ledger.announce_restore(at, write.wanted);
            }
            return;
        }
        if is_live {
            let (expected, wanted) = (write.expected.clone(), write.wanted.clone());
            self.runbook.ledger.announce(Switch { at, incident: id, expected, wanted });
        }
        if let Some(open) = self.of(incident) {
            open.write = Some(write);
        }
    }

    fn see_outcome(
        &mut self,
        at: UnixMs,
        incident: Option<&IncidentId>,
        step: Step,
        attempt: u32,
        done: bool,
    ) {
        let Some(open) = self.of(incident) else { return };
        if step == Step::Notify {
            open.rooms.see_ended(done);
        }
        if !done {
            return;
        }
        let is_live = open.plan.cause != Cause::Drill;
        let mut record = None;
        match (step, &mut open.write) {
            (Step::Page, _) => open.is_paged = true,
            (Step::WriteRecord, Some(write)) if write.attempt == attempt => {
                write.is_done = true;
                record = Some(write.wanted.clone());
            }
            (Step::RestoreRecord, Some(write)) => record = Some(write.expected.clone()),
            _ => {}
        }
        if let Some(record) = record.filter(|_| is_live) {
            self.runbook.record = Some((at, record));
        }
    }

    fn finish(self, now: UnixMs) -> Runbook {
        let Self { mut runbook, open } = self;
        runbook.now = runbook.now.max(now);
        runbook.refresh = Tries::first(runbook.now);
        let Some(open) = open else { return runbook };
        let head = Head {
            id: open.id.clone(),
            region: open.plan.region.clone(),
            cause: open.plan.cause,
            opened_at: open.opened_at,
            since: open.since,
            paged: None,
            asked: open.plan.target.clone().filter(|_| open.plan.is_asked),
            undoes: open.undoes.clone(),
            stop: open.stop.clone(),
        };
        if let Some(state) = state_of(&runbook, &open) {
            let mut head = head;
            runbook.retell(&mut head, &state, &open);
            runbook.incident = Some(Incident { head, state });
        } else {
            runbook.owe_again(&open.id, open.undoes, open.is_over);
        }
        runbook
    }
}

impl Rooms {
    const fn see_begun(&mut self) {
        (self.on_their_way, self.is_begun) = (self.on_their_way + 1, true);
    }

    const fn see_ended(&mut self, done: bool) {
        self.on_their_way = self.on_their_way.saturating_sub(1);
        self.is_told = done && self.is_begun && self.on_their_way == 0;
    }
}

impl Runbook {
    /// Sends again what may not have got through. A page may be repeated, since it has its key; a message may not.
    fn retell(&mut self, head: &mut Head, state: &State, open: &Open) {
        match state.phase() {
            Phase::Suspect => {}
            phase @ (Phase::Recovered | Phase::RolledBack | Phase::HandedOver) => {
                self.wake(head, phase, &open.reason);
                if !open.rooms.is_told {
                    self.notify(head, phase, &open.reason, None);
                }
            }
            _ if open.is_paged => {
                self.paged.insert(head.region.clone());
                head.paged = Some(crate::agent::pager::Severity::Warning);
            }
            _ => self.page(head, &open.reason),
        }
    }
}

fn change_of(runbook: &Runbook, cause: Cause, write: &Announced) -> Option<Change> {
    let layout = if cause == Cause::Drill { &runbook.shadow } else { &runbook.live };
    let (expected, wanted) = (write.expected.clone(), write.wanted.clone());
    let (before, after) = (layout.set_of(&expected)?, layout.set_of(&wanted)?);
    Some(Change { expected, wanted, before, after })
}

/// The state as it was written down; `None` when the incident had only been named.
fn state_of(runbook: &Runbook, open: &Open) -> Option<State> {
    let (timing, since, now) = (&runbook.config.timing, open.since, runbook.now);
    let waits_until = since.after_ms(timing.ack_timeout_ms);
    let tries = Tries::first(now);
    let run = open.plan.target.clone().map(|target| Run {
        target,
        approval: Approval::parse(&open.plan.approved_by),
        until: open.run_since.after_ms(timing.run_ms),
    });
    let ended = |ending| State::Ended(Reporting { ending, until: now.after_ms(timing.report_ms), tries });
    let change = open.write.as_ref().and_then(|write| change_of(runbook, open.plan.cause, write));
    // If lines of a run are missing, a person has to look.
    let lost = || Some(ended(Ending::HandedOver));
    match open.phase {
        Phase::Watching | Phase::Reported => None,
        Phase::Suspect => Some(State::Suspect { page_at: since.after_ms(timing.confirm_ms) }),
        Phase::Paged => Some(State::Paged { until: waits_until, act_at: since.after_ms(timing.hold_off_ms) }),
        Phase::Acknowledged => Some(State::Acknowledged {
            approval: Approval::parse(&open.plan.approved_by),
            until: waits_until,
        }),
        Phase::AutoApproved => Some(State::AutoApproved { until: since.after_ms(timing.run_ms) }),
        Phase::Declined => Some(State::Declined { until: waits_until }),
        Phase::Preflight => run.map(|run| State::Preflight { run, tries }).or_else(lost),
        Phase::Switching => run
            .map(|run| State::Switching { stage: stage_of(runbook, open, &run, change), run })
            .or_else(lost),
        Phase::Validating => match (run, change) {
            (Some(run), Some(change)) => {
                let until = since.after_ms(timing.validating_ms);
                Some(State::Validating(Validating { run, change, until, tries }))
            }
            _ => lost(),
        },
        Phase::RollingBack => change.map_or_else(lost, |change| {
            let until = since.after_ms(timing.rollback_ms);
            let stage = BackStage::Reading(BackReading { attempt: open.restores + 1, tries });
            Some(State::RollingBack(RollingBack { change, until, stage }))
        }),
        Phase::Recovered => Some(ended(Ending::Recovered)),
        Phase::RolledBack => Some(ended(Ending::RolledBack)),
        Phase::HandedOver => Some(ended(Ending::HandedOver)),
    }
}

fn stage_of(runbook: &Runbook, open: &Open, run: &Run, change: Option<Change>) -> Stage {
    let (timing, now) = (&runbook.config.timing, runbook.now);
    let tries = Tries::first(now);
    match (&open.write, change) {
        (Some(write), Some(change)) if write.is_done => {
            Stage::Showing(Showing { change, until: write.at.after_ms(timing.visible_ms), tries })
        }
        (Some(write), Some(change)) => {
            let until = now.after_ms(timing.run_ms);
            Stage::Settling(Settling { change, attempt: write.attempt, until, tries })
        }
        _ => {
            let pass = Pass { target: run.target.clone(), at: open.since };
            Stage::Reading(Reading { pass, attempt: 1, tries })
        }
    }
}
