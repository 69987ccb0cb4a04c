//! Stories of what pages and moves no traffic.

use super::story::{Story, eu_is_dead};
use super::test_support::config;
use super::*;
use crate::agent::pager::Severity;
use crate::agent::types::Step;

fn notice(scope: Scope, name: &str, subject: &str, raised: bool) -> Notice {
    let (name, subject) = (name.to_owned(), subject.to_owned());
    let (severity, detail) = (Severity::Error, "it is slow".to_owned());
    Notice { name, scope, subject, raised, severity, detail, scales: false }
}

fn alert(number: usize) -> Notice {
    notice(Scope::Alert, "alert", &format!("Made/{number}"), true)
}

#[test]
fn a_page_has_one_key_for_all_who_see_the_same_trouble_and_no_other() {
    let key = |scope, node: &str, own: &str| {
        let own_region = test_support::region(own);
        let mut story = Story::new(RunbookConfig { node: node.to_owned(), own_region, ..config() });
        story.feed(Event::Notice(notice(scope, "disk_full", "", true)));
        let key = story.pages()[0].dedup_key.clone();
        story.settle();
        story.feed(Event::Notice(notice(scope, "disk_full", "", false)));
        let resolves =
            |task: &Task| matches!(&task.work, Work::ResolvePage { dedup_key, .. } if *dedup_key == key);
        assert!(story.performed.iter().any(resolves), "{key}");
        key
    };
    assert_ne!(key(Scope::Node, "us-1", "us"), key(Scope::Node, "us-2", "us"));
    assert_eq!(key(Scope::Region, "us-1", "us"), key(Scope::Region, "us-2", "us"));
    assert_ne!(key(Scope::Region, "us-1", "us"), key(Scope::Region, "eu-1", "eu"));
    assert_eq!(key(Scope::Alert, "us-1", "us"), key(Scope::Alert, "eu-1", "eu"));
}

#[test]
fn each_node_whose_journal_fails_has_a_page_of_its_own() {
    let key = |node: &str| {
        let mut story = Story::new(RunbookConfig { node: node.to_owned(), ..config() });
        story.feed(Event::JournalFailed { why: "no space".to_owned() });
        story.pages()[0].dedup_key.clone()
    };
    assert_ne!(key("us-1"), key("us-2"));
}

#[test]
fn the_key_of_a_long_subject_fits_the_pager() {
    let mut story = Story::new(config());
    story.feed(Event::Notice(notice(Scope::Region, "tokens_low", &format!("api/{}", "k".repeat(512)), true)));
    assert_eq!(story.pages()[0].dedup_key.chars().count(), 255);
}

#[test]
fn alerts_never_keep_an_own_signal_from_being_told() {
    let mut story = Story::new(config());
    for number in 0..1_000 {
        let is_dropped = story.runbook.has_no_room_for(&alert(number)).is_some();
        assert_eq!(is_dropped, number >= 192, "{number}");
        story.feed(Event::Notice(alert(number)));
        story.settle();
    }
    assert!(story.runbook.status(story.now).last_error.unwrap().contains("route fewer alerts"));
    let pages = story.count(Step::Page);
    story.feed(Event::Notice(notice(Scope::Node, "stalled_core", "", true)));
    assert_eq!((pages, story.count(Step::Page)), (192, 193));
    // What ends makes room.
    let over = Notice { raised: false, ..alert(3) };
    story.feed(Event::Notice(over));
    assert!(story.runbook.has_no_room_for(&alert(500)).is_none());
}

#[test]
fn alerts_neither_evict_the_page_of_a_failover_nor_stand_before_it() {
    let mut story = Story::new(config());
    // The pager takes nothing for a while.
    story.holds = Some(Step::Page);
    story.assess(eu_is_dead());
    story.pass_ms(400);
    story.fail_step(Step::Page, Failure::NotDone);
    for number in 0..192 {
        story.feed(Event::Notice(alert(number)));
        story.feed(Event::Notice(notice(Scope::Region, "tokens_low", &number.to_string(), true)));
    }
    let is_alert = |task: &&Task| matches!(&task.work, Work::Page(page) if page.dedup_key.contains("Made"));
    assert_eq!(story.open.iter().filter(is_alert).count(), 8, "the rest waits for its turn");
    let before = story.pages().len();
    story.pass_ms(1_000);
    assert!(story.pages()[before..].iter().any(|page| page.dedup_key.ends_with("failover:eu")));
    story.holds = None;
    story.pass_ms(10_000);
    let told =
        |number: usize| story.pages().iter().any(|page| page.dedup_key.ends_with(&format!("Made/{number}")));
    assert!((0..192).all(told));
}

#[test]
fn a_room_is_told_once_though_nobody_heard_that_it_was() {
    let mut story = Story::new(config());
    story.holds = Some(Step::Notify);
    story.assess(eu_is_dead());
    story.pass_ms(60_000);
    let headline = |task: &Task| match &task.work {
        Work::Notify { headline, lines, .. } => Some(format!("{headline} {lines:?}")),
        _ => None,
    };
    let mut told: Vec<String> = story.performed.iter().filter_map(headline).collect();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all);
}
