//! Stories of answers that come late or not at all, and of attempts that come to nothing.

use super::story::{Story, all_well, dead, eu_is_dead, seen, view};
use super::test_support::{config, record, region};
use super::*;
use crate::agent::pager::Severity;
use crate::agent::types::{Phase, Step};

const FAILBACK_MS: u64 = 60_000;

impl Story {
    /// Time passes, and nothing ends by itself but reads of the record and what informs.
    fn pass_slowly_ms(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        while self.now < end {
            self.now = self.now.after_ms(250);
            self.assess(self.assessment.clone());
            while let Some(at) =
                self.open.iter().position(|task| task.work.informs() || task.work == Work::ReadRecord)
            {
                let task = self.open.remove(at);
                let found = Ended::Found(self.record.clone());
                let done = Ended::Done { detail: "well".to_owned() };
                self.end(&task, if task.work == Work::ReadRecord { found } else { done });
            }
        }
    }
}

#[test]
fn a_write_that_takes_effect_late_is_tried_and_reported() {
    // While it is read again, and while the target is looked at again.
    for is_preflight in [false, true] {
        let mut story = Story::new(config());
        story.assess(eu_is_dead());
        story.pass_slowly_ms(1_500);
        story.end_step(Step::Preflight, Ended::Done { detail: "well".to_owned() });
        story.pass_slowly_ms(500);
        if is_preflight {
            story.holds = Some(Step::Preflight);
            story.now = story.now.after_ms(31_000);
        }
        story.fail_step(Step::WriteRecord, Failure::NotDone);
        if is_preflight {
            story.pass_slowly_ms(1_000);
            assert_eq!(story.runbook.phase(), Phase::Preflight);
        }
        story.record = record(&["192.0.2.2"]);
        story.pass_ms(40_000);
        assert_eq!(
            (story.count(Step::WriteRecord), story.count(Step::Validate)),
            (1, 1),
            "{:?}",
            story.phases()
        );
        assert!(story.phases().contains(&Phase::Recovered));
        assert_eq!((story.count(Step::WriteReport), story.record.clone()), (1, record(&["192.0.2.2"])));
    }
}

#[test]
fn a_write_that_takes_effect_while_it_waits_for_approval_anew_is_tried_and_reported() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_slowly_ms(1_500);
    story.end_step(Step::Preflight, Ended::Done { detail: "well".to_owned() });
    story.pass_slowly_ms(500);
    story.fail_step(Step::WriteRecord, Failure::NotDone);
    story.order(Command::Start { from: region("eu"), to: None, why: String::new() }).unwrap();
    // It is not elected any more, so that it does not go on at once.
    story.assess(Assessment { elected: false, ..eu_is_dead() });
    story.record = record(&["192.0.2.2"]);
    story.pass_ms(20_000);
    assert_eq!((story.count(Step::WriteRecord), story.count(Step::Validate)), (1, 1), "{:?}", story.phases());
}

#[test]
fn a_preflight_from_before_the_process_stood_still_is_made_again() {
    for (late_ms, is_passed) in [(5_000, true), (60_000, false)] {
        let mut story = Story::new(config());
        story.assess(eu_is_dead());
        story.pass_slowly_ms(1_500);
        let at = story.open.iter().position(|task| task.work.step() == Step::Preflight).unwrap();
        let task = story.open.remove(at);
        // The first thing that is heard of is the answer; the regions look as before.
        story.now = story.now.after_ms(late_ms);
        story.end(&task, Ended::done("well"));
        story.assess(eu_is_dead());
        story.pass_slowly_ms(1_000);
        let preflights = if is_passed { 1 } else { 2 };
        assert_eq!(story.count(Step::Preflight), preflights, "{late_ms} {:?}", story.phases());
        assert_eq!(story.count(Step::WriteRecord), usize::from(is_passed), "{late_ms} {:?}", story.phases());
    }
}

#[test]
fn a_preflight_that_nobody_answered_does_not_count_against_the_target() {
    for (failure, is_over) in [(Failure::Unknown, false), (Failure::NotDone, false), (Failure::Refused, true)]
    {
        let mut story = Story::new(config());
        story.assess(eu_is_dead());
        for _ in 0..5 {
            story.pass_slowly_ms(3_000);
            if story.open.iter().any(|task| task.work.step() == Step::Preflight) {
                story.fail_step(Step::Preflight, failure.clone());
            }
        }
        assert_eq!(story.phases().contains(&Phase::HandedOver), is_over, "{failure:?}");
    }
}

#[test]
fn a_target_that_was_chosen_is_chosen_anew_after_a_restart_and_one_that_was_asked_for_is_not() {
    for asked in [None, Some(region("ap"))] {
        let ours = asked.clone().unwrap_or_else(|| region("us"));
        let mut story = Story::new(RunbookConfig { own_region: ours.clone(), ..config() });
        story.holds = Some(Step::Preflight);
        story.order(Command::Start { from: region("eu"), to: asked, why: String::new() }).unwrap();
        story.pass_ms(500);
        story.restart();
        assert_eq!(story.runbook.phase(), Phase::Preflight);
        // Now the other one is first in line.
        let us = if ours == region("us") { dead() } else { Standing::Healthy };
        story.assess(seen(view(Standing::Healthy, 0), view(us, 3)));
        story.pass_ms(10_000);
        let is_kept = ours == region("ap");
        assert_eq!(story.runbook.phase() == Phase::Preflight, is_kept, "{ours:?} {:?}", story.phases());
    }
}

/// Until `eu` was withdrawn.
fn withdrawn() -> Story {
    let (failback, mode) = (Failback::AfterMs(FAILBACK_MS), crate::agent::orders::AgentMode::Manual);
    let timing = Timing { cooldown_ms: 1_000, ..Timing::default() };
    let mut story = Story::new(RunbookConfig { failback, mode, timing, ..config() });
    story.assess(eu_is_dead());
    story.pass_ms(400);
    story.order(Command::Ack).unwrap();
    story.pass_ms(3_000);
    story
}

/// Until `eu` was withdrawn and its failback is paged.
fn failing_back() -> Story {
    let mut story = withdrawn();
    story.assess(all_well());
    story.pass_ms(FAILBACK_MS + 1_000);
    assert_eq!((story.runbook.phase(), story.record.clone()), (Phase::Paged, record(&["192.0.2.2"])));
    story
}

#[test]
fn a_failback_that_came_to_nothing_is_tried_again() {
    for is_restarted in [false, true] {
        let mut story = failing_back();
        story.assess(eu_is_dead());
        story.pass_ms(1_000);
        assert_eq!(story.runbook.phase(), Phase::Watching);
        if is_restarted {
            story.restart();
        }
        story.assess(all_well());
        story.pass_ms(FAILBACK_MS + 1_000);
        assert_eq!(story.runbook.phase(), Phase::Paged);
        story.order(Command::Ack).unwrap();
        story.pass_ms(3_000);
        assert_eq!(story.record, record(&["192.0.2.1"]));
    }
}

#[test]
fn a_failback_that_a_person_stopped_is_for_a_person() {
    for is_restarted in [false, true] {
        let mut story = failing_back();
        story.order(Command::Abort).unwrap();
        story.pass_ms(10_000);
        if is_restarted {
            story.restart();
        }
        story.pass_ms(2 * FAILBACK_MS);
        assert_eq!(story.runbook.phase(), Phase::Watching);
        story.order(Command::Rollback).unwrap();
        story.pass_ms(3_000);
        assert_eq!(story.record, record(&["192.0.2.1"]));
    }
}

#[test]
fn a_failback_waits_for_the_end_of_a_freeze_and_wakes_nobody_when_nobody_answers() {
    let mut story = withdrawn();
    story.order(Command::Freeze { why: "a release".to_owned() }).unwrap();
    story.assess(all_well());
    story.pass_ms(2 * FAILBACK_MS);
    assert_eq!(story.runbook.phase(), Phase::Watching);
    let pages = story.pages().len();
    story.order(Command::Thaw).unwrap();
    story.pass_ms(2_000_000);
    assert!(story.phases().contains(&Phase::HandedOver));
    let severities: Vec<Severity> = story.pages()[pages..].iter().map(|page| page.severity).collect();
    assert_eq!(severities, [Severity::Info, Severity::Warning]);
}

#[test]
fn a_failback_that_was_only_named_before_a_crash_is_named_again() {
    let mut story = failing_back();
    let planned =
        story.journal.iter().rposition(|line| matches!(line.2, crate::agent::types::Entry::Planned { .. }));
    story.journal.truncate(planned.unwrap() + 1);
    story.restart();
    assert_eq!(story.runbook.phase(), Phase::Watching);
    story.pass_ms(FAILBACK_MS + 1_000);
    assert_eq!(story.runbook.phase(), Phase::Paged);
}

fn notice(raised: bool, scales: bool) -> Event {
    Event::Notice(Notice {
        name: "alert".to_owned(),
        scope: Scope::Alert,
        subject: "Slow/ab12".to_owned(),
        raised,
        severity: Severity::Warning,
        detail: "it is slow".to_owned(),
        scales,
    })
}

#[test]
fn a_notice_of_before_a_restart_is_resolved_and_may_be_raised_again() {
    for is_lost in [false, true] {
        let mut story = Story::new(config());
        story.feed(notice(true, false));
        story.settle();
        if is_lost {
            story.journal.retain(|line| !format!("{:?}", line.2).contains("Slow/ab12"));
            story.journal_fails = true;
            story.feed(Event::JournalFailed { why: "no space".to_owned() });
            story.journal_fails = false;
            story.feed(Event::JournalBack);
            story.settle();
        }
        let (pages, resolved) = (story.count(Step::Page), story.count(Step::ResolvePage));
        story.restart();
        assert_eq!(story.runbook.notices().collect::<Vec<_>>(), [("alert", "Slow/ab12")]);
        story.feed(notice(true, false));
        story.feed(notice(true, false));
        story.settle();
        assert_eq!(story.count(Step::Page), pages + 1, "it may have gone and come again");
        story.restart();
        story.feed(notice(false, false));
        story.settle();
        assert_eq!(story.count(Step::ResolvePage), resolved + 1);
        story.feed(notice(false, false));
        story.settle();
        assert_eq!((story.count(Step::ResolvePage), story.runbook.notices().count()), (resolved + 1, 0));
    }
}

#[test]
fn more_of_the_standby_is_not_asked_for_during_a_freeze() {
    let mut story = Story::new(config());
    story.feed(notice(true, true));
    assert_eq!(story.count(Step::Scale), 1);
    story.fail_step(Step::Scale, Failure::NotDone);
    story.order(Command::Freeze { why: "a release".to_owned() }).unwrap();
    story.pass_ms(20_000);
    assert_eq!(story.count(Step::Scale), 1);
    story.order(Command::Thaw).unwrap();
    story.pass_ms(20_000);
    assert_eq!(story.count(Step::Scale), 2);
}

#[test]
fn a_provider_that_throttles_is_left_alone_as_long_as_it_asks() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_slowly_ms(1_500);
    story.end_step(Step::Preflight, Ended::Done { detail: "well".to_owned() });
    story.pass_slowly_ms(500);
    let reads = story.count(Step::ReadRecord);
    story.fail_step(Step::WriteRecord, Failure::Throttled { wait_ms: 20_000 });
    story.pass_slowly_ms(19_500);
    assert_eq!((story.count(Step::ReadRecord), story.count(Step::WriteRecord)), (reads, 1));
    story.pass_ms(1_500);
    assert_eq!(story.count(Step::WriteRecord), 2, "{:?}", story.phases());
    assert!(story.phases().contains(&Phase::Recovered), "{:?}", story.phases());
}

#[test]
fn a_record_is_put_back_though_its_provider_throttles_for_long() {
    let mut story = Story::new(config());
    story.holds = Some(Step::Validate);
    story.assess(eu_is_dead());
    story.pass_ms(5_000);
    story.assess(all_well());
    story.order(Command::Rollback).unwrap();
    story.holds = Some(Step::RestoreRecord);
    story.pass_ms(1_000);
    // Whoever asks for an hour is asked again after a minute.
    story.fail_step(Step::RestoreRecord, Failure::Throttled { wait_ms: 3_600_000 });
    story.pass_ms(55_000);
    assert_eq!(story.count(Step::RestoreRecord), 1);
    story.holds = None;
    story.pass_ms(10_000);
    assert_eq!((story.count(Step::RestoreRecord), &story.record), (2, &record(&["192.0.2.1"])));
    assert!(story.phases().contains(&Phase::RolledBack), "{:?}", story.phases());
}

#[test]
fn an_order_that_the_record_of_before_refuses_has_it_read_anew() {
    let mut story = Story::new(config());
    story.pass_ms(1_000);
    let order = || Command::Start { from: region("ap"), to: Some(region("us")), why: String::new() };
    // Another agent moves it between two looks.
    story.record = record(&["192.0.2.3", "2001:db8::3"]);
    story.pass_ms(7_000);
    let refused = story.order(order()).unwrap_err().to_string();
    assert!(refused.contains("ap") && refused.contains("as of 8 s ago"), "{refused}");
    story.pass_ms(250);
    assert!(story.order(Command::Start { from: region("eu"), to: None, why: String::new() }).is_err());
    story.order(order()).unwrap();
}

#[test]
fn an_order_that_is_refused_for_another_reason_reads_nothing() {
    let mut story = Story::new(config());
    story.pass_ms(8_000);
    let reads = story.count(Step::ReadRecord);
    let order = Command::Start { from: region("eu"), to: Some(region("ap")), why: String::new() };
    let refused = story.order(order).unwrap_err().to_string();
    assert!(!refused.contains("ago"), "{refused}");
    story.pass_ms(1_000);
    assert_eq!(story.count(Step::ReadRecord), reads);
}
