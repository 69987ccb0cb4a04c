//! One runbook in a world that does what a test says.

use std::collections::BTreeMap;

use super::test_support::{record, region};
use super::*;
use crate::agent::orders::OrderRefused;
use crate::agent::types::{Entry, IncidentId, Phase, RecordState, Region, Step, UnixMs};

pub(super) type Line = (UnixMs, Option<IncidentId>, Entry);

/// The runbook of `us`, whose world does what the test says.
pub(super) struct Story {
    pub(super) runbook: Runbook,
    pub(super) config: RunbookConfig,
    pub(super) now: UnixMs,
    pub(super) record: RecordState,
    pub(super) journal: Vec<Line>,
    pub(super) journal_fails: bool,
    /// The runbook began without its journal, which cannot be opened yet.
    pub(super) is_late: bool,
    /// Handed out and not ended.
    pub(super) open: Vec<Task>,
    /// All that was ever handed out.
    pub(super) performed: Vec<Task>,
    pub(super) assessment: Assessment,
    /// Such tasks fail.
    pub(super) fails: Option<Step>,
    /// Such tasks do not end.
    pub(super) holds: Option<Step>,
    /// For the rules: what the last preflight of each incident passed, and when.
    pub(super) passed: BTreeMap<IncidentId, (Region, UnixMs)>,
}

pub(super) fn view(standing: Standing, cannot_see: u32) -> RegionView {
    RegionView {
        standing,
        votes: Votes { cannot_see, can_see: 3 - cannot_see, voters: 3 },
        link_is_up: false,
        last_healthy: None,
    }
}

pub(super) fn dead() -> Standing {
    Standing::Unreachable { why: "refused".to_owned() }
}

pub(super) fn seen(eu: RegionView, us: RegionView) -> Assessment {
    let ap = view(Standing::Healthy, 0);
    let regions = BTreeMap::from([(region("eu"), eu), (region("us"), us), (region("ap"), ap)]);
    Assessment { regions, elected: true, unfit: None }
}

pub(super) fn all_well() -> Assessment {
    seen(view(Standing::Healthy, 0), view(Standing::Healthy, 0))
}

pub(super) fn eu_is_dead() -> Assessment {
    seen(view(dead(), 3), view(Standing::Healthy, 0))
}

impl Story {
    pub(super) fn new(config: RunbookConfig) -> Self {
        let now = UnixMs(1_700_000_000_000);
        let mut story = Self {
            runbook: Runbook::new(config.clone(), now),
            config,
            now,
            record: record(&["192.0.2.1"]),
            journal: vec![],
            journal_fails: false,
            is_late: false,
            open: vec![],
            performed: vec![],
            assessment: Assessment::default(),
            fails: None,
            holds: None,
            passed: BTreeMap::new(),
        };
        story.assess(all_well());
        story.settle();
        story
    }

    pub(super) fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Journal { incident, entry } if !self.journal_fails => {
                    self.journal.push((self.now, incident, entry));
                }
                Action::Journal { .. } => {}
                Action::Perform(task) => {
                    if !self.journal_fails {
                        self.journal.push((self.now, task.incident.clone(), task.intent(vec![])));
                    }
                    self.open.push(task.clone());
                    self.performed.push(task);
                }
            }
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
        let actions = self.runbook.handle(self.now, event);
        self.act(actions);
    }

    pub(super) fn order(&mut self, command: Command) -> Result<String, OrderRefused> {
        let accepted = self.runbook.command(self.now, command, "Ada")?;
        self.act(accepted.actions);
        Ok(accepted.what)
    }

    pub(super) fn assess(&mut self, assessment: Assessment) {
        self.assessment = assessment.clone();
        self.feed(Event::Assessed(assessment));
    }

    /// Time passes; the regions are looked at all the while.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while self.now < end {
            self.now = UnixMs(end.0.min(self.now.0 + 250));
            self.assess(self.assessment.clone());
            self.settle();
        }
    }

    /// Every task ends as it should.
    pub(super) fn settle(&mut self) {
        while self.settle_one() {}
    }

    /// One task ends as it should, if there is one.
    pub(super) fn settle_one(&mut self) -> bool {
        let at = self.open.iter().position(|task| Some(task.work.step()) != self.holds);
        if let Some(task) = at.map(|at| self.open.remove(at)) {
            let ended = match &task.work {
                Work::ReadRecord => Ended::Found(self.record.clone()),
                Work::WriteRecord { wanted, .. } | Work::RestoreRecord { wanted, .. } => {
                    self.record = wanted.clone();
                    Ended::Done { detail: "changed".to_owned() }
                }
                work if Some(work.step()) == self.fails => {
                    Ended::Failed { failure: Failure::Refused, why: "it did not work".to_owned() }
                }
                _ => Ended::Done { detail: "well".to_owned() },
            };
            self.end(&task, ended);
        }
        at.is_some()
    }

    pub(super) fn end(&mut self, task: &Task, ended: Ended) {
        let done = !matches!(ended, Ended::Failed { .. });
        let (step, attempt) = (task.work.step(), task.attempt);
        if !self.journal_fails {
            let entry = Entry::Outcome { step, attempt, done, detail: String::new() };
            self.journal.push((self.now, task.incident.clone(), entry));
        }
        if let (Work::Preflight { target }, Some(id), true) = (&task.work, &task.incident, done) {
            self.passed.insert(id.clone(), (target.clone(), self.now));
        }
        self.feed(Event::Done { task: task.id, ended });
    }

    /// Ends the one open task of `step`.
    pub(super) fn end_step(&mut self, step: Step, ended: Ended) {
        let at = self.open.iter().position(|task| task.work.step() == step).unwrap();
        let task = self.open.remove(at);
        self.end(&task, ended);
    }

    pub(super) fn fail_step(&mut self, step: Step, failure: Failure) {
        self.end_step(step, Ended::Failed { failure, why: "it did not work".to_owned() });
    }

    pub(super) fn restart(&mut self) {
        self.open.clear();
        self.runbook = Runbook::resume(self.config.clone(), self.now, self.journal.clone());
    }

    /// The agent begins again, and the journal is in the hands of another process.
    pub(super) fn restart_without_journal(&mut self) {
        self.open.clear();
        self.runbook = Runbook::new(self.config.clone(), self.now);
        (self.journal_fails, self.is_late) = (true, true);
        self.feed(Event::JournalFailed { why: "in use by another process".to_owned() });
    }

    /// The journal can be written again, or is opened.
    pub(super) fn open_journal(&mut self) {
        if std::mem::take(&mut self.is_late) {
            self.runbook = self.runbook.catch_up(self.now, self.journal.clone());
        }
        self.journal_fails = false;
        self.feed(Event::JournalBack);
    }

    pub(super) fn count(&self, step: Step) -> usize {
        self.performed.iter().filter(|task| task.work.step() == step).count()
    }

    pub(super) fn phases(&self) -> Vec<Phase> {
        let moved = |line: &Line| match &line.2 {
            Entry::Moved { to, .. } => Some(*to),
            _ => None,
        };
        self.journal.iter().filter_map(moved).collect()
    }

    pub(super) fn last_why(&self) -> &str {
        let why = |line: &'_ Line| matches!(line.2, Entry::Moved { to: Phase::HandedOver, .. });
        match &self.journal.iter().rev().find(|line| why(line)).unwrap().2 {
            Entry::Moved { why, .. } => why,
            _ => "",
        }
    }

    pub(super) fn pages(&self) -> Vec<&Page> {
        let page = |task: &'_ Task| matches!(task.work, Work::Page(_));
        let pages = self.performed.iter().filter(|task| page(task));
        pages.filter_map(|task| if let Work::Page(page) = &task.work { Some(page) } else { None }).collect()
    }
}
