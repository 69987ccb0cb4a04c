//! Stories of one runbook, told event by event; and random events that never break a rule.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::test_support::{config, record, region, set};
use super::*;
use crate::agent::orders::OrderRefused;
use crate::agent::pager::Severity;
use crate::agent::types::{Cause, Entry, IncidentId, Phase, RecordState, Region, Step, UnixMs};

type Line = (UnixMs, Option<IncidentId>, Entry);

/// The runbook of `us`, whose world does what the test says.
struct Story {
    runbook: Runbook,
    config: RunbookConfig,
    now: UnixMs,
    record: RecordState,
    journal: Vec<Line>,
    journal_fails: bool,
    /// Handed out and not ended.
    open: Vec<Task>,
    /// All that was ever handed out.
    performed: Vec<Task>,
    assessment: Assessment,
    /// Such tasks fail.
    fails: Option<Step>,
    /// Such tasks do not end.
    holds: Option<Step>,
    /// For the rules: what the last preflight of the incident passed, and when.
    passed: Option<(IncidentId, Region, UnixMs)>,
}

fn view(standing: Standing, cannot_see: u32) -> RegionView {
    RegionView {
        standing,
        votes: Votes { cannot_see, can_see: 3 - cannot_see, voters: 3 },
        link_is_up: false,
    }
}

fn dead() -> Standing {
    Standing::Unreachable { why: "refused".to_owned() }
}

fn seen(eu: RegionView, us: RegionView) -> Assessment {
    let ap = view(Standing::Healthy, 0);
    let regions = BTreeMap::from([(region("eu"), eu), (region("us"), us), (region("ap"), ap)]);
    Assessment { regions, elected: true, unfit: None }
}

fn all_well() -> Assessment {
    seen(view(Standing::Healthy, 0), view(Standing::Healthy, 0))
}

fn eu_is_dead() -> Assessment {
    seen(view(dead(), 3), view(Standing::Healthy, 0))
}

impl Story {
    fn new(config: RunbookConfig) -> Self {
        let now = UnixMs(1_700_000_000_000);
        let mut story = Self {
            runbook: Runbook::new(config.clone(), now),
            config,
            now,
            record: record(&["192.0.2.1"]),
            journal: vec![],
            journal_fails: false,
            open: vec![],
            performed: vec![],
            assessment: Assessment::default(),
            fails: None,
            holds: None,
            passed: None,
        };
        story.assess(all_well());
        story.settle();
        story
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Journal { incident, entry } if !self.journal_fails => {
                    self.journal.push((self.now, incident, entry));
                }
                Action::Journal { .. } => {}
                Action::Perform(task) => {
                    let change = task.work.change();
                    let entry = Entry::Intent {
                        step: task.work.step(),
                        attempt: task.attempt,
                        calls: vec![],
                        expected: change.map(|(expected, _)| expected.clone()),
                        wanted: change.map(|(_, wanted)| wanted.clone()),
                    };
                    if !self.journal_fails {
                        self.journal.push((self.now, task.incident.clone(), entry));
                    }
                    self.open.push(task.clone());
                    self.performed.push(task);
                }
            }
        }
    }

    fn feed(&mut self, event: Event) {
        let actions = self.runbook.handle(self.now, event);
        self.act(actions);
    }

    fn order(&mut self, command: Command) -> Result<String, OrderRefused> {
        let accepted = self.runbook.command(self.now, command, "Ada")?;
        self.act(accepted.actions);
        Ok(accepted.what)
    }

    fn assess(&mut self, assessment: Assessment) {
        self.assessment = assessment.clone();
        self.feed(Event::Assessed(assessment));
    }

    /// Time passes; the regions are looked at all the while.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while self.now < end {
            self.now = UnixMs(end.0.min(self.now.0 + 250));
            self.assess(self.assessment.clone());
            self.settle();
        }
    }

    /// Every task ends as it should.
    fn settle(&mut self) {
        while let Some(at) = self.open.iter().position(|task| Some(task.work.step()) != self.holds) {
            let task = self.open.remove(at);
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
    }

    fn end(&mut self, task: &Task, ended: Ended) {
        let done = !matches!(ended, Ended::Failed { .. });
        let (step, attempt) = (task.work.step(), task.attempt);
        if !self.journal_fails {
            let entry = Entry::Outcome { step, attempt, done, detail: String::new() };
            self.journal.push((self.now, task.incident.clone(), entry));
        }
        if let (Work::Preflight { target }, Some(id), true) = (&task.work, &task.incident, done) {
            self.passed = Some((id.clone(), target.clone(), self.now));
        }
        self.feed(Event::Done { task: task.id, ended });
    }

    /// Ends the one open task of `step`.
    fn end_step(&mut self, step: Step, ended: Ended) {
        let at = self.open.iter().position(|task| task.work.step() == step).unwrap();
        let task = self.open.remove(at);
        self.end(&task, ended);
    }

    fn fail_step(&mut self, step: Step, failure: Failure) {
        self.end_step(step, Ended::Failed { failure, why: "it did not work".to_owned() });
    }

    fn restart(&mut self) {
        self.open.clear();
        self.runbook = Runbook::resume(self.config.clone(), self.now, self.journal.clone());
    }

    fn count(&self, step: Step) -> usize {
        self.performed.iter().filter(|task| task.work.step() == step).count()
    }

    fn phases(&self) -> Vec<Phase> {
        let moved = |line: &Line| match &line.2 {
            Entry::Moved { to, .. } => Some(*to),
            _ => None,
        };
        self.journal.iter().filter_map(moved).collect()
    }

    fn last_why(&self) -> &str {
        let why = |line: &'_ Line| matches!(line.2, Entry::Moved { to: Phase::HandedOver, .. });
        match &self.journal.iter().rev().find(|line| why(line)).unwrap().2 {
            Entry::Moved { why, .. } => why,
            _ => "",
        }
    }

    fn pages(&self) -> Vec<&Page> {
        let page = |task: &'_ Task| matches!(task.work, Work::Page(_));
        let pages = self.performed.iter().filter(|task| page(task));
        pages.filter_map(|task| if let Work::Page(page) = &task.work { Some(page) } else { None }).collect()
    }
}

#[test]
fn a_dead_region_is_withdrawn_through_every_state() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(2_000);
    use Phase::*;
    let expected =
        [Suspect, Paged, AutoApproved, Preflight, Switching, Validating, Recovered, Reported, Watching];
    assert_eq!(story.phases(), expected);
    assert_eq!(story.record, record(&["192.0.2.2"]));
    let page = story.pages()[0].clone();
    assert_eq!(page.dedup_key, "openclaw-rating:test:failover:eu");
    assert_eq!(page.severity, Severity::Critical);
    assert_eq!((story.count(Step::ResolvePage), story.count(Step::CommitRegion)), (1, 1));
    // It stays down, and comes back: nothing more happens.
    story.pass_ms(700_000);
    story.assess(all_well());
    story.pass_ms(700_000);
    assert_eq!((story.phases().len(), story.count(Step::WriteRecord)), (9, 1));
}

#[test]
fn what_heals_before_the_page_wakes_nobody() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(200);
    story.assess(all_well());
    story.pass_ms(1_000);
    assert_eq!(story.phases(), [Phase::Suspect, Phase::Watching]);
    assert_eq!(story.count(Step::Page), 0);
}

#[test]
fn what_heals_before_the_switch_resolves_the_page_and_changes_nothing() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(400);
    assert_eq!(story.runbook.phase(), Phase::Paged);
    story.assess(all_well());
    story.pass_ms(10_000);
    assert_eq!(story.runbook.phase(), Phase::Watching);
    let counts =
        [Step::Page, Step::ResolvePage, Step::WriteRecord, Step::Preflight].map(|step| story.count(step));
    assert_eq!(counts, [1, 1, 0, 0]);
}

#[test]
fn a_standby_that_dies_pages_and_moves_nothing() {
    let mut story = Story::new(config());
    story.record = record(&["192.0.2.2"]);
    story.pass_ms(60_000);
    story.assess(eu_is_dead());
    story.pass_ms(60_000);
    assert_eq!(story.pages()[0].severity, Severity::Warning);
    assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (0, Phase::Watching));
    story.assess(all_well());
    story.pass_ms(1_000);
    assert_eq!(story.count(Step::ResolvePage), 1);
}

#[test]
fn a_record_of_somebody_else_is_left_alone() {
    let mut story = Story::new(config());
    story.record = record(&["198.51.100.1"]);
    story.pass_ms(60_000);
    story.assess(eu_is_dead());
    story.pass_ms(1_800_000);
    story.pass_ms(10_000);
    assert_eq!(story.count(Step::WriteRecord), 0);
    assert!(story.last_why().contains("which is no set of regions"), "{}", story.last_why());
}

/// Until the write is on its way.
fn writing() -> Story {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(400);
    for _ in 0..4 {
        story.now = story.now.after_ms(250);
        story.assess(story.assessment.clone());
        for step in [Step::Preflight, Step::ReadRecord, Step::Page, Step::Notify] {
            while story.open.iter().any(|task| task.work.step() == step) {
                let record = story.record.clone();
                let done = Ended::Done { detail: "well".to_owned() };
                story.end_step(step, if step == Step::ReadRecord { Ended::Found(record) } else { done });
            }
        }
    }
    assert!(story.open.iter().any(|task| task.work.step() == Step::WriteRecord));
    story
}

#[test]
fn a_write_without_an_answer_is_read_and_not_repeated() {
    let mut story = writing();
    story.record = record(&["192.0.2.2"]);
    story.fail_step(Step::WriteRecord, Failure::Unknown);
    story.pass_ms(10_000);
    assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (1, Phase::Watching));
    assert!(story.phases().contains(&Phase::Recovered));
}

#[test]
fn a_write_that_had_no_effect_is_tried_a_few_times_and_handed_over() {
    let mut story = writing();
    for _ in 0..400 {
        if story.open.iter().any(|task| task.work.step() == Step::WriteRecord) {
            story.fail_step(Step::WriteRecord, Failure::NotDone);
        }
        story.now = story.now.after_ms(250);
        story.assess(story.assessment.clone());
        while let Some(at) = story.open.iter().position(|task| task.work.step() != Step::WriteRecord) {
            let task = story.open.remove(at);
            let found = Ended::Found(story.record.clone());
            let done = Ended::Done { detail: "well".to_owned() };
            story.end(&task, if task.work == Work::ReadRecord { found } else { done });
        }
    }
    assert_eq!(story.count(Step::WriteRecord), 4);
    assert!(story.last_why().contains("could not be written, and is the old one"), "{}", story.last_why());
}

#[test]
fn a_run_gives_way_to_a_region_before_it_in_line() {
    let ours = RunbookConfig { own_region: region("ap"), ..config() };
    let mut story = Story::new(ours);
    let mut both_are_dead = eu_is_dead();
    both_are_dead.regions.insert(region("us"), view(dead(), 3));
    story.assess(both_are_dead);
    story.now = story.now.after_ms(300);
    story.feed(Event::Tick);
    story.now = story.now.after_ms(500);
    story.feed(Event::Tick);
    story.end_step(Step::Preflight, Ended::Done { detail: "well".to_owned() });
    story.assess(eu_is_dead());
    story.pass_ms(10_000);
    assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (0, Phase::AutoApproved));
    story.record = record(&["192.0.2.2"]);
    story.pass_ms(10_000);
    assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (0, Phase::Watching));
}

#[test]
fn validation_that_nobody_answers_ends() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.holds = Some(Step::Validate);
    story.pass_ms(3_000);
    assert_eq!(story.runbook.phase(), Phase::Validating);
    story.journal_fails = true;
    story.feed(Event::JournalFailed { why: "no space".to_owned() });
    for _ in 0..2_000 {
        story.now = story.now.after_ms(250);
        story.assess(story.assessment.clone());
    }
    assert_eq!(story.runbook.phase(), Phase::Watching);
}

#[test]
fn a_conflict_stops_and_asks() {
    let mut story = writing();
    story.fail_step(Step::WriteRecord, Failure::Conflict(record(&["198.51.100.1"])));
    story.settle();
    assert!(story.last_why().contains("somebody else changed the record"), "{}", story.last_why());
    assert_eq!(story.count(Step::WriteRecord), 1);
}

#[test]
fn an_abort_waits_for_the_write_that_is_on_its_way() {
    for is_restarted in [false, true] {
        let mut story = writing();
        assert!(story.order(Command::Abort).unwrap().contains("on its way"));
        assert_eq!(story.runbook.phase(), Phase::Switching);
        if is_restarted {
            story.record = record(&["192.0.2.2"]);
            story.restart();
        }
        story.pass_ms(2_000);
        assert!(story.last_why().contains("stopped by Ada; the record leads to us"), "{}", story.last_why());
    }
}

#[test]
fn failed_validation_goes_back_only_to_a_region_that_lives() {
    for (is_alive, expected) in [(true, "192.0.2.1"), (false, "192.0.2.2")] {
        let mut story = Story::new(config());
        let start = Command::Start { from: region("eu"), to: None, why: "maintenance".to_owned() };
        story.order(start).unwrap();
        story.fails = Some(Step::Validate);
        for _ in 0..200 {
            if !is_alive && story.record == record(&["192.0.2.2"]) {
                story.assess(eu_is_dead());
            }
            story.pass_ms(250);
        }
        assert_eq!(story.record, record(&[expected]), "{:?}", story.phases());
        assert_eq!(story.phases().contains(&Phase::RolledBack), is_alive);
        assert_eq!(story.phases().contains(&Phase::HandedOver), !is_alive);
    }
}

#[test]
fn a_freeze_survives_a_restart_and_stops_the_run_but_not_the_page() {
    let mut story = Story::new(config());
    story.order(Command::Freeze { why: "a release".to_owned() }).unwrap();
    story.restart();
    story.assess(eu_is_dead());
    story.pass_ms(60_000);
    assert_eq!((story.count(Step::Page), story.count(Step::Preflight)), (1, 0));
    assert_eq!(story.runbook.status(story.now).frozen.as_deref(), Some("a release"));
    let start = Command::Start { from: region("eu"), to: None, why: String::new() };
    assert_eq!(story.order(start), Err(OrderRefused::Frozen { why: "a release".to_owned() }));
    story.order(Command::Thaw).unwrap();
    story.pass_ms(5_000);
    assert_eq!(story.count(Step::WriteRecord), 1);
}

#[test]
fn a_restart_does_not_forget_the_cooldown_and_a_person_does_not_wait_for_it() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(3_000);
    story.assess(all_well());
    story.pass_ms(10_000);
    story.record = record(&["192.0.2.1"]);
    story.restart();
    story.assess(eu_is_dead());
    story.pass_ms(30_000);
    assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (1, Phase::Paged));
    assert!(story.runbook.status(story.now).objections[0].contains("cooldown"));
    story.order(Command::Start { from: region("eu"), to: None, why: String::new() }).unwrap();
    story.pass_ms(3_000);
    assert_eq!(story.count(Step::WriteRecord), 2);
}

#[test]
fn while_the_journal_fails_it_pages_and_does_nothing_else() {
    let mut story = Story::new(config());
    story.journal_fails = true;
    story.feed(Event::JournalFailed { why: "no space".to_owned() });
    let before = story.performed.len();
    story.assess(eu_is_dead());
    story.pass_ms(20_000);
    let steps: Vec<Step> = story.performed[before..].iter().map(|task| task.work.step()).collect();
    assert_eq!(steps, [Step::Page], "{steps:?}");
    story.journal_fails = false;
    story.feed(Event::JournalBack);
    story.pass_ms(3_000);
    assert_eq!(story.record, record(&["192.0.2.2"]));
}

#[test]
fn a_drill_moves_the_shadow_record_and_back_and_gives_way() {
    let mut story = Story::new(config());
    story.order(Command::Drill).unwrap();
    story.pass_ms(5_000);
    assert!(story.performed.iter().filter(|task| task.work.change().is_some()).all(|task| task.is_drill));
    assert_eq!((story.count(Step::WriteRecord), story.count(Step::RestoreRecord)), (1, 1));
    assert!(story.phases().contains(&Phase::RolledBack));
    assert_eq!(story.record, record(&["192.0.2.1"]));
    story.order(Command::Drill).unwrap();
    story.assess(eu_is_dead());
    story.pass_ms(5_000);
    assert_eq!(story.record, record(&["192.0.2.2"]), "a real incident comes first");
}

#[test]
fn traffic_goes_back_by_the_rule_after_health_without_a_break() {
    let failback = Failback::AfterMs(1_800_000);
    let mut story = Story::new(RunbookConfig { failback, ..config() });
    story.assess(eu_is_dead());
    story.pass_ms(3_000);
    story.assess(all_well());
    story.pass_ms(1_700_000);
    story.assess(eu_is_dead());
    story.pass_ms(1_000);
    story.assess(all_well());
    story.pass_ms(1_700_000);
    assert_eq!(story.record, record(&["192.0.2.2"]), "the clock began again");
    story.restart();
    story.pass_ms(1_805_000);
    assert_eq!(story.record, record(&["192.0.2.1"]));
    assert_eq!(story.count(Step::RestoreRecord), 0);
}

#[test]
fn tokens_page_and_scale_once_and_move_no_traffic() {
    let mut story = Story::new(config());
    let notice = |name: &str, raised, scales| {
        Event::Notice(Notice {
            name: name.to_owned(),
            subject: "api/alice".to_owned(),
            raised,
            severity: Severity::Warning,
            detail: "4 % are left".to_owned(),
            scales,
        })
    };
    story.feed(notice("tokens_low", true, false));
    story.feed(notice("tokens_low", true, false));
    for raised in [true, false, true] {
        story.feed(notice("tokens_critical", raised, true));
        story.settle();
    }
    story.pass_ms(60_000);
    let counts = [Step::Page, Step::Scale, Step::WriteRecord].map(|step| story.count(step));
    assert_eq!(counts, [3, 1, 0]);
}

#[test]
fn orders_that_mean_nothing_are_refused_with_what_to_do() {
    let mut story = Story::new(config());
    for command in [Command::Ack, Command::Decline, Command::Abort, Command::Rollback] {
        let name = command.name().to_owned();
        assert_eq!(story.order(command), Err(OrderRefused::NoIncident { order: name }));
    }
    assert_eq!(story.order(Command::Thaw), Err(OrderRefused::NotFrozen));
    let start = |from: &str, to: &str| Command::Start {
        from: region(from),
        to: Some(region(to)),
        why: String::new(),
    };
    assert!(matches!(story.order(start("eu", "xx")), Err(OrderRefused::UnknownRegion { .. })));
    assert!(matches!(story.order(start("eu", "ap")), Err(OrderRefused::Unsafe { .. })));
    assert!(matches!(story.order(start("eu", "eu")), Err(OrderRefused::Unsafe { .. })));
    story.order(start("eu", "us")).unwrap();
    assert!(matches!(story.order(Command::Drill), Err(OrderRefused::Underway { .. })));
}

#[test]
fn a_plan_says_what_would_be_written_and_what_stands_against_it() {
    let story = Story::new(config());
    let plan = story.runbook.plan(story.now, Some(region("eu")), None).unwrap();
    assert_eq!((plan.to, plan.in_service, plan.objections.len()), (region("us"), set(&["us"]), 0));
    assert_eq!(plan.wanted, Some(record(&["192.0.2.2"])));
    let plan = story.runbook.plan(story.now, Some(region("us")), None).unwrap();
    assert!(!plan.objections.is_empty());
}

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

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => prop_oneof![(0_u32..700), (700_u32..40_000)].prop_map(Happening::Time),
        4 => (0_u8..5, 0_u8..8, 0_u8..4, 0_u8..8, 0_u8..4).prop_map(|(eu, us, votes, elected, link)| Happening::Seen {
            eu, us, votes, is_elected: elected > 0, link: link == 0,
        }),
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
            Happening::Journal(is_back) => {
                self.journal_fails = !is_back;
                let why = "no space".to_owned();
                self.feed(if is_back { Event::JournalBack } else { Event::JournalFailed { why } });
            }
            Happening::Restart if self.journal_fails => {}
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
        let (of, target, at) = self.passed.clone().unwrap();
        assert!(of == id && after.contains(&target) && self.now.since_ms(at) <= 30_000, "{id:?} {target:?}");
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_events_bring_a_write_out_that_breaks_a_rule(
        happenings in proptest::collection::vec(happening(), 1..250),
        after_ms in prop_oneof![Just(0_u64), Just(5_000)],
    ) {
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

    #[test]
    fn every_incident_ends_when_everything_answers(happenings in proptest::collection::vec(happening(), 1..150)) {
        let timing = Timing { cooldown_ms: 20_000, ack_timeout_ms: 60_000, ..Timing::default() };
        let mut story = Story::new(RunbookConfig { timing, ..config() });
        for happening in happenings {
            story.happen(happening);
        }
        story.journal_fails = false;
        story.feed(Event::JournalBack);
        let end = story.now.after_ms(1_200_000);
        while story.now < end {
            story.now = story.now.after_ms(1_000);
            story.assess(story.assessment.clone());
            story.settle();
        }
        prop_assert_eq!(story.runbook.phase(), Phase::Watching);
    }
}
