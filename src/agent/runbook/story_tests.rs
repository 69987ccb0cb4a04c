//! Stories of one runbook, told event by event.

use super::story::{Line, Story, all_well, dead, eu_is_dead, seen, view};
use super::test_support::{config, record, region, set};
use super::*;
use crate::agent::orders::OrderRefused;
use crate::agent::pager::Severity;
use crate::agent::types::{Entry, Phase, Step};

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
fn a_report_waits_for_its_page_to_be_resolved_and_for_no_longer_than_that_may_take() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.holds = Some(Step::ResolvePage);
    story.pass_ms(5_000);
    assert_eq!((story.runbook.phase(), story.count(Step::WriteReport)), (Phase::Recovered, 0));
    let mut unheard = Story { runbook: story.runbook.clone(), ..Story::new(config()) };
    (unheard.now, unheard.assessment, unheard.holds) = (story.now, eu_is_dead(), Some(Step::ResolvePage));
    unheard.pass_ms(25_000);
    assert_eq!((unheard.runbook.phase(), unheard.count(Step::WriteReport)), (Phase::Watching, 1));
    story.holds = None;
    story.settle();
    assert_eq!((story.runbook.phase(), story.count(Step::WriteReport)), (Phase::Watching, 1));
}

#[test]
fn incidents_that_begin_within_a_second_have_names_of_their_own() {
    let mut story = Story::new(config());
    for number in 0..12 {
        let order = Command::Start { from: region("eu"), to: None, why: String::new() };
        story.order(if number % 2 == 0 { Command::Drill } else { order }).unwrap();
        story.order(Command::Abort).unwrap();
        story.pass_ms(250);
        if number == 6 {
            story.restart();
            story.pass_ms(1);
        }
        assert_eq!(story.runbook.phase(), Phase::Watching);
    }
    let begun = |line: &Line| matches!(line.2, Entry::Moved { from: Phase::Watching, .. });
    let begun: Vec<_> = story.journal.iter().filter(|line| begun(line)).map(|line| &line.1).collect();
    let names: std::collections::BTreeSet<_> = begun.iter().collect();
    assert_eq!((begun.len(), names.len()), (12, 12));
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
fn an_agent_that_is_told_to_go_opens_no_incident_about_itself() {
    let draining = |reason: &str| Standing::Sick { reasons: vec![reason.to_owned()] };
    for reason in ["draining", "draining by order"] {
        let mut story = Story::new(config());
        story.assess(seen(view(Standing::Healthy, 0), view(draining(reason), 3)));
        story.pass_ms(10_000);
        // Its sockets close before it ends.
        story.assess(seen(view(Standing::Healthy, 0), view(dead(), 3)));
        story.pass_ms(10_000);
        assert_eq!((story.phases().len(), story.count(Step::Page)), (0, 0), "{reason}");
        assert!(story.runbook.status(story.now).next.starts_with("us is down and is left as it is"));
        story.assess(all_well());
        story.pass_ms(1_000);
        story.assess(seen(view(Standing::Healthy, 0), view(dead(), 3)));
        story.pass_ms(400);
        assert_eq!(story.count(Step::Page), 1, "it was healthy since: this is news");
    }
}

#[test]
fn a_region_of_others_that_goes_and_one_that_is_also_sick_are_down() {
    let sick = |reasons: &[&str]| {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        view(Standing::Sick { reasons }, 3)
    };
    let healthy = || view(Standing::Healthy, 0);
    for regions in [
        seen(sick(&["draining"]), healthy()),
        seen(healthy(), sick(&["draining", "a data thread is stalled"])),
        seen(healthy(), sick(&[])),
    ] {
        let mut story = Story::new(config());
        story.assess(regions);
        story.pass_ms(400);
        assert_eq!(story.count(Step::Page), 1);
    }
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
fn a_write_that_was_lost_long_ago_is_not_done_now() {
    for (down_ms, writes) in [(5_000, 2), (100_000, 1)] {
        let mut story = writing();
        story.now = story.now.after_ms(down_ms);
        story.restart();
        story.pass_ms(20_000);
        assert_eq!((story.count(Step::WriteRecord), story.runbook.phase()), (writes, Phase::Watching));
        assert_eq!(story.phases().contains(&Phase::HandedOver), writes == 1);
    }
}

#[test]
fn a_provider_that_shows_an_accepted_change_late_is_waited_for() {
    let mut story = writing();
    story.holds = Some(Step::WriteRecord);
    let taken = |story: &mut Story| {
        if story.open.iter().any(|task| task.work.step() == Step::WriteRecord) {
            story.fail_step(Step::WriteRecord, Failure::Unknown);
        }
    };
    for _ in 0..20 {
        taken(&mut story);
        story.pass_ms(250);
    }
    taken(&mut story);
    story.record = record(&["192.0.2.2"]);
    story.pass_ms(10_000);
    assert!(story.phases().contains(&Phase::Recovered) && !story.phases().contains(&Phase::HandedOver));
}

#[test]
fn what_cannot_be_settled_is_handed_over() {
    let mut story = writing();
    story.fail_step(Step::WriteRecord, Failure::Unknown);
    story.holds = Some(Step::ReadRecord);
    story.pass_ms(500_000);
    assert!(story.last_why().contains("nobody knows whether"), "{}", story.last_why());
    assert_eq!(story.count(Step::WriteRecord), 1);
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
fn a_restart_pages_the_reason_and_tells_no_room_twice() {
    let mut whole = Story::new(config());
    whole.assess(eu_is_dead());
    whole.pass_ms(2_000);
    let restarted_after = |is_last: fn(&Entry) -> bool| {
        let lines = whole.journal.iter().rposition(|line| is_last(&line.2)).unwrap() + 1;
        let mut story = Story::new(config());
        (story.journal, story.now) = (whole.journal[..lines].to_vec(), whole.now);
        (story.record, story.performed) = (whole.record.clone(), vec![]);
        story.restart();
        story.settle();
        story.feed(Event::Tick);
        story
    };
    let paged = restarted_after(|entry| matches!(entry, Entry::Moved { to: Phase::Paged, .. }));
    assert!(paged.pages()[0].summary.contains("eu does not answer"), "{:?}", paged.pages());
    let untold = restarted_after(|entry| matches!(entry, Entry::Intent { step: Step::Notify, .. }));
    assert_eq!(untold.count(Step::Notify), 1);
    let told = restarted_after(|entry| matches!(entry, Entry::Outcome { step: Step::Notify, .. }));
    assert_eq!((told.count(Step::Notify), told.count(Step::ResolvePage)), (0, 1));
}

/// Traffic is moved by hand from one healthy region to another, and `order` comes while the write is on its way.
fn stopped_while_writing(order: Command) -> Story {
    let mut story = Story::new(config());
    story.holds = Some(Step::WriteRecord);
    story.order(Command::Start { from: region("eu"), to: None, why: String::new() }).unwrap();
    story.pass_ms(2_000);
    story.order(order).unwrap();
    story.holds = None;
    story.pass_ms(20_000);
    story
}

#[test]
fn what_a_person_stopped_stays_stopped_over_a_crash_at_any_line() {
    for (order, restores) in [(Command::Abort, 0), (Command::Rollback, 1)] {
        let whole = stopped_while_writing(order.clone());
        let is_order =
            |line: &Line| matches!(&line.2, Entry::Command { command, .. } if command == order.name());
        let first = whole.journal.iter().position(is_order).unwrap() + 1;
        for lines in first..=whole.journal.len() {
            let journal = whole.journal[..lines].to_vec();
            let is_put_back =
                journal.iter().any(|line| matches!(line.2, Entry::Intent { step: Step::RestoreRecord, .. }));
            let mut story = Story::new(config());
            (story.journal, story.now) = (journal, whole.now);
            story.record = if is_put_back { record(&["192.0.2.1"]) } else { record(&["192.0.2.2"]) };
            story.restart();
            story.pass_ms(20_000);
            assert!(!story.phases().contains(&Phase::Recovered), "{order:?} {lines}: {:?}", story.phases());
            assert_eq!(story.count(Step::WriteRecord), 0, "{order:?} {lines}");
            let restored = story.count(Step::RestoreRecord) + usize::from(is_put_back);
            assert_eq!(restored, restores, "{order:?} {lines}: {:?}", story.phases());
            assert_eq!(story.runbook.phase(), Phase::Watching);
        }
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
            scope: Scope::Region,
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
    assert_eq!(
        story.runbook.plan(story.now, None, None).unwrap(),
        plan,
        "all are well: of the one that serves"
    );
    assert_eq!((plan.to, plan.in_service, plan.objections.len()), (region("us"), set(&["us"]), 0));
    assert_eq!(plan.wanted, Some(record(&["192.0.2.2"])));
    let plan = story.runbook.plan(story.now, Some(region("us")), None).unwrap();
    assert!(!plan.objections.is_empty());
}

/// A switch by hand whose trial fails, until the record is being put back.
fn rolling_back() -> Story {
    let mut story = Story::new(config());
    story.order(Command::Start { from: region("eu"), to: None, why: String::new() }).unwrap();
    story.fails = Some(Step::Validate);
    while story.runbook.phase() != Phase::RollingBack {
        story.now = story.now.after_ms(250);
        story.assess(story.assessment.clone());
        let is_enough = |story: &Story| story.runbook.phase() == Phase::RollingBack;
        while !story.open.is_empty() && !is_enough(&story) {
            story.settle_one();
        }
    }
    assert_eq!(story.record, record(&["192.0.2.2"]));
    story
}

#[test]
fn a_dry_run_puts_nothing_back_that_a_run_before_it_wrote() {
    let mut story = rolling_back();
    story.config.dry_run = true;
    story.restart();
    story.pass_ms(20_000);
    assert_eq!((story.count(Step::RestoreRecord), story.record.clone()), (0, record(&["192.0.2.2"])));
    assert!(story.last_why().contains("dry run"), "{}", story.last_why());
}

#[test]
fn a_restart_while_the_record_is_put_back_waits_for_a_look_at_the_regions() {
    let not_yet = || seen(view(Standing::Unknown, 0), view(Standing::Unknown, 0));
    for (later, goes_back) in [(all_well(), true), (eu_is_dead(), false), (not_yet(), false)] {
        let mut story = rolling_back();
        story.restart();
        story.assess(not_yet());
        story.pass_ms(5_000);
        assert_eq!((story.runbook.phase(), story.count(Step::RestoreRecord)), (Phase::RollingBack, 0));
        story.assess(later);
        story.pass_ms(320_000);
        assert_eq!(story.record == record(&["192.0.2.1"]), goes_back);
        assert_eq!(story.phases().contains(&Phase::HandedOver), !goes_back);
    }
}
