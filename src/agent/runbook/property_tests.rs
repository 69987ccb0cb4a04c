//! Random events never bring out a write that breaks a rule, and a restart is in the same state.

use proptest::prelude::*;

use super::story::{Story, dead, seen, view};
use super::test_support::{config, record, region};
use super::*;
use crate::agent::types::{Cause, Entry, Phase, Step};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Time(u32),
    Seen { eu: u8, us: u8, votes: u8, is_elected: bool, link: bool },
    Ends { which: u8, how: u8 },
    Orders(u8),
    Acknowledged,
    Edited(u8),
    Journal(bool),
    Restart,
}

fn seen_somehow() -> impl Strategy<Value = Happening> {
    let numbers = (0_u8..5, 0_u8..8, 0_u8..4, 0_u8..8, 0_u8..4);
    numbers.prop_map(|(eu, us, votes, elected, link)| {
        let (is_elected, link) = (elected > 0, link == 0);
        Happening::Seen { eu, us, votes, is_elected, link }
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop_oneof![(0_u32..700), (700_u32..40_000)].prop_map(Happening::Time),
        4 => seen_somehow(),
        12 => (any::<u8>(), 0_u8..16).prop_map(|(which, how)| Happening::Ends { which, how }),
        2 => (0_u8..9).prop_map(Happening::Orders),
        1 => Just(Happening::Acknowledged),
        1 => (0_u8..16).prop_map(Happening::Edited),
        1 => (0_u8..8).prop_map(|number| Happening::Journal(number > 0)),
        1 => Just(Happening::Restart),
    ]
}

fn standing(number: u8) -> Standing {
    match number {
        0 | 1 => dead(),
        2 => Standing::Sick { reasons: vec!["stalled".to_owned()] },
        3 => Standing::Unknown,
        _ => Standing::Healthy,
    }
}

fn ended(story: &mut Story, task: &Task, how: u8) -> Ended {
    let failed = |failure| Ended::Failed { failure, why: "it did not work".to_owned() };
    if let Some((expected, wanted)) = task.work.change().filter(|_| !task.is_drill) {
        if *expected != story.record && *wanted != story.record {
            return failed(Failure::Conflict(story.record.clone()));
        }
        if how < 3 {
            return failed(if how == 0 { Failure::Refused } else { Failure::NotDone });
        }
        if how > 4 {
            story.record = wanted.clone();
        }
        return if how < 8 { failed(Failure::Unknown) } else { Ended::Done { detail: "changed".to_owned() } };
    }
    match (how, &task.work) {
        (0, _) => failed(Failure::Refused),
        (1 | 2, _) => failed(Failure::NotDone),
        (3, _) => failed(Failure::Unknown),
        (_, Work::ReadRecord) if task.is_drill => Ended::Found(record(&["192.0.2.1"])),
        (_, Work::ReadRecord) => Ended::Found(story.record.clone()),
        _ => Ended::Done { detail: "well".to_owned() },
    }
}

fn command(number: u8) -> Command {
    let start = |from: &str| Command::Start { from: region(from), to: None, why: String::new() };
    match number {
        0 => Command::Ack,
        1 => Command::Decline,
        2 => start("eu"),
        3 => start("us"),
        4 => Command::Abort,
        5 => Command::Rollback,
        6 => Command::Freeze { why: "a release".to_owned() },
        7 => Command::Thaw,
        _ => Command::Drill,
    }
}

impl Story {
    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Time(ms) => {
                self.now = self.now.after_ms(ms.into());
                self.feed(Event::Tick);
            }
            Happening::Seen { eu, us, votes, is_elected, link } => {
                let mut assessment =
                    seen(view(standing(eu), votes.min(3).into()), view(standing(us), u32::from(us < 3) * 3));
                assessment.regions.get_mut(&region("eu")).unwrap().link_is_up = link;
                assessment.elected = is_elected;
                self.assess(assessment);
            }
            Happening::Ends { which, how } if !self.open.is_empty() => {
                let task = self.open.remove(usize::from(which) % self.open.len());
                let ended = ended(self, &task, how);
                self.end(&task, ended);
            }
            Happening::Ends { .. } => self.feed(Event::Tick),
            Happening::Orders(number) => drop(self.order(command(number))),
            Happening::Acknowledged => {
                self.feed(Event::PageAcknowledged { region: region("eu"), by: "Ada".to_owned() });
            }
            Happening::Edited(number) if number < 3 => {
                self.record = record(&[["192.0.2.1", "192.0.2.2", "198.51.100.1"][usize::from(number)]]);
            }
            Happening::Edited(_) => {}
            Happening::Journal(true) => {
                let frozen = self.runbook.status(self.now).frozen;
                self.open_journal();
                let after = self.runbook.status(self.now);
                assert!(frozen.is_none() || after.frozen == frozen, "{:#?}", self.journal);
            }
            Happening::Journal(false) => {
                self.journal_fails = true;
                self.feed(Event::JournalFailed { why: "no space".to_owned() });
            }
            Happening::Restart if self.journal_fails => self.restart_without_journal(),
            Happening::Restart => {
                let (before, phase) = (self.runbook.status(self.now), self.runbook.phase());
                self.restart();
                let after = self.runbook.status(self.now);
                assert_eq!(self.runbook.phase(), phase, "{:#?}", self.journal);
                assert_eq!((after.incident, after.region), (before.incident, before.region));
                assert_eq!((after.frozen, after.switches_left), (before.frozen, before.switches_left));
                // It may have been found out later, as the journal has it.
                assert!(after.cooldown_until >= before.cooldown_until, "{:#?}", self.journal);
            }
        }
    }

    /// What must hold for every write that comes out, by the last that was seen.
    fn check(&self, task: &Task) {
        let Some((expected, wanted)) = task.work.change() else { return };
        let layout = record_set::Layout::new(&self.config, task.is_drill);
        let (before, after) = (layout.set_of(expected).unwrap(), layout.set_of(wanted).unwrap());
        let status = self.runbook.status(self.now);
        assert!(status.frozen.is_none() && status.journal_fails.is_none());
        assert!(!after.is_empty());
        if task.work.step() == Step::RestoreRecord {
            let comes_back = after.difference(&before);
            assert!(task.is_drill || comes_back.into_iter().all(|region| self.assessment.is_healthy(region)));
            return;
        }
        assert!(self.assessment.elected);
        let id = task.incident.clone().unwrap();
        let (target, at) = self.passed[&id].clone();
        assert!(after.contains(&target) && self.now.since_ms(at) <= 30_000, "{id:?} {target:?} {at:?}");
        assert!(after.iter().all(|region| self.assessment.is_healthy(region)), "{:?}", self.assessment);
        let plan = self.journal.iter().rev().find_map(|(_, incident, entry)| match entry {
            Entry::Planned { region, cause, approved_by, .. } if *incident == Some(id.clone()) => {
                Some((region.clone(), *cause, approved_by.clone()))
            }
            _ => None,
        });
        let (failed, cause, approved_by) = plan.unwrap();
        if cause == Cause::Signal {
            assert!(self.assessment.is_down_by_majority(&failed));
            assert!(
                approved_by != "policy"
                    || !self.assessment.regions[&failed].link_is_up
                    || matches!(self.assessment.standing(&failed), Standing::Sick { .. })
            );
        }
        if cause != Cause::Failback {
            assert!(before.contains(&failed) && !after.contains(&failed));
        }
    }
}

/// Lets all of it happen, and looks at each write that comes out.
fn run(happenings: Vec<Happening>, after_ms: u64) {
    let failback = if after_ms == 0 { Failback::Manual } else { Failback::AfterMs(after_ms) };
    let timing = Timing { cooldown_ms: 20_000, ack_timeout_ms: 60_000, ..Timing::default() };
    let mut story = Story::new(RunbookConfig { failback, timing, ..config() });
    for happening in happenings {
        let performed = story.performed.len();
        story.happen(happening);
        for task in &story.performed[performed..] {
            story.check(task);
        }
    }
}

/// A write that nobody heard of, found done after a restart, is put back by somebody else: the cooldown that this
/// begins outlasts one more restart.
#[test]
fn what_somebody_puts_back_after_a_write_in_doubt_begins_a_cooldown_that_is_not_forgotten() {
    let ends = |which, how| Happening::Ends { which, how };
    let seen = Happening::Seen { eu: 0, us: 4, votes: 2, is_elected: true, link: true };
    let start = [Happening::Time(0), seen, Happening::Orders(2)];
    let written = [ends(251, 4), ends(0, 0), ends(59, 4), ends(60, 0), ends(92, 5), Happening::Restart];
    let put_back = [Happening::Time(0), ends(30, 4), Happening::Edited(0), Happening::Time(1)];
    let stopped = [Happening::Orders(4), ends(154, 4), Happening::Restart];
    run(start.into_iter().chain(written).chain(put_back).chain(stopped).collect(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_events_bring_a_write_out_that_breaks_a_rule(
        happenings in proptest::collection::vec(happening(), 1..250),
        after_ms in prop_oneof![Just(0_u64), Just(5_000)],
    ) {
        run(happenings, after_ms);
    }

    #[test]
    fn every_incident_ends_when_everything_answers(
        happenings in proptest::collection::vec(happening(), 1..150),
    ) {
        let timing = Timing { cooldown_ms: 20_000, ack_timeout_ms: 60_000, ..Timing::default() };
        let mut story = Story::new(RunbookConfig { timing, ..config() });
        for happening in happenings {
            story.happen(happening);
        }
        story.open_journal();
        let end = story.now.after_ms(1_200_000);
        while story.now < end {
            story.now = story.now.after_ms(1_000);
            story.assess(story.assessment.clone());
            story.settle();
        }
        prop_assert_eq!(story.runbook.phase(), Phase::Watching);
    }
}
