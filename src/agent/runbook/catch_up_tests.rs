//! A journal that is opened late.

use super::story::{Line, Story, all_well, eu_is_dead};
use super::test_support::config;
use super::*;
use crate::agent::types::{Entry, Phase, Step, UnixMs};

/// The agent begins again without its journal, and looks around.
fn begin_without_journal(story: &mut Story) {
    story.restart_without_journal();
    story.assess(story.assessment.clone());
    story.settle();
}

/// Until the first page has gone out.
fn paged() -> Story {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.pass_ms(400);
    assert_eq!(story.runbook.phase(), Phase::Paged);
    story
}

#[test]
fn a_freeze_without_a_journal_is_journalled_when_it_opens() {
    let mut story = Story::new(config());
    begin_without_journal(&mut story);
    story.order(Command::Freeze { why: "migration".to_owned() }).unwrap();
    story.open_journal();
    for _ in 0..2 {
        assert_eq!(story.runbook.status(story.now).frozen.as_deref(), Some("migration"));
        story.restart();
    }
    story.assess(eu_is_dead());
    story.pass_ms(10_000);
    assert_eq!((story.count(Step::Page), story.count(Step::WriteRecord)), (2, 0));
}

#[test]
fn a_decline_without_a_journal_holds_for_the_incident_that_the_journal_has() {
    for (is_in_journal, is_restarted) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut story = if is_in_journal { paged() } else { Story::new(config()) };
        begin_without_journal(&mut story);
        story.assess(eu_is_dead());
        story.pass_ms(400);
        story.order(Command::Decline).unwrap();
        story.open_journal();
        if is_restarted {
            story.restart();
        }
        assert_eq!(story.runbook.phase(), Phase::Declined, "{is_in_journal} {is_restarted}");
        story.pass_ms(60_000);
        assert_eq!(story.count(Step::WriteRecord), 0);
    }
}

#[test]
fn an_abort_without_a_journal_stops_what_the_journal_has_begun() {
    for wait_ms in [1_000, 200_000] {
        let mut story = Story::new(config());
        story.assess(eu_is_dead());
        story.holds = Some(Step::Preflight);
        story.pass_ms(2_000);
        assert_eq!(story.runbook.phase(), Phase::Preflight);
        story.holds = None;
        begin_without_journal(&mut story);
        story.pass_ms(400);
        story.order(Command::Abort).unwrap();
        story.pass_ms(wait_ms);
        story.open_journal();
        story.pass_ms(60_000);
        let is_stopped = |(_, _, entry): &Line| match entry {
            Entry::Moved { why, .. } => why.starts_with("stopped by somebody"),
            _ => false,
        };
        assert!(story.journal.iter().any(is_stopped), "{:?}", story.journal);
        assert_eq!(story.count(Step::WriteRecord), 0);
    }
}

#[test]
fn an_answer_to_a_task_of_before_ends_none_of_after() {
    let mut story = Story::new(config());
    story.assess(eu_is_dead());
    story.holds = Some(Step::Preflight);
    story.pass_ms(2_000);
    begin_without_journal(&mut story);
    story.holds = Some(Step::Page);
    story.pass_ms(400);
    let old: Vec<TaskId> = story.open.drain(..).map(|task| task.id).collect();
    story.open_journal();
    story.pass_ms(1_000);
    let new = story.open.iter().filter(|task| task.work.step() != Step::Page);
    assert!(
        !old.is_empty() && new.into_iter().all(|task| !old.contains(&task.id)),
        "{old:?} {:?}",
        story.open
    );
}

#[test]
fn the_page_about_the_journal_is_resolved_when_it_opens() {
    let mut story = Story::new(config());
    begin_without_journal(&mut story);
    assert!(story.pages()[0].dedup_key.ends_with(":journal"));
    story.open_journal();
    story.settle();
    assert_eq!(story.count(Step::ResolvePage), 1);
}

#[test]
fn an_incident_goes_on_though_the_journal_is_ahead() {
    let mut story = Story::new(config());
    begin_without_journal(&mut story);
    story.journal.push((
        UnixMs(story.now.0 + 3_600_000),
        None,
        Entry::Started { version: String::new(), mode: String::new() },
    ));
    story.assess(eu_is_dead());
    story.pass_ms(400);
    let id = story.runbook.incident().cloned();
    story.now = story.now.after_ms(3_600_000);
    story.open_journal();
    assert_eq!((story.runbook.phase(), story.runbook.incident().cloned()), (Phase::Paged, id));
    story.pass_ms(3_000);
    assert_eq!(story.count(Step::WriteRecord), 1);
}

#[test]
fn a_region_whose_incident_is_over_by_the_journal_gets_no_other() {
    let mut story = paged();
    story.order(Command::Abort).unwrap();
    story.pass_ms(200_000);
    assert_eq!(story.runbook.phase(), Phase::Watching);
    begin_without_journal(&mut story);
    story.pass_ms(400);
    assert_eq!(story.runbook.phase(), Phase::Paged, "it does not know yet");
    story.open_journal();
    story.pass_ms(60_000);
    assert_eq!((story.runbook.phase(), story.count(Step::WriteRecord)), (Phase::Watching, 0));
    let resolved = story.count(Step::ResolvePage);
    story.assess(all_well());
    story.settle();
    assert_eq!(story.count(Step::ResolvePage), resolved + 1);
}
