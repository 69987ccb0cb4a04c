//! Stories of a second region that goes down while an incident about another one is under way.

use super::story::{Story, all_well, dead, eu_is_dead, view};
use super::test_support::{config, record, region};
use super::*;
use crate::agent::orders::AgentMode;
use crate::agent::pager::Severity;
use crate::agent::types::{Phase, Step};

const AP_KEY: &str = "openclaw-rating:test:failover:ap";

/// `eu` and `ap` serve, `us` watches and takes over from both.
fn serving_from_two(mode: AgentMode) -> Story {
    let mut story = Story::new(RunbookConfig { mode, ..config() });
    story.record = record(&["192.0.2.1", "192.0.2.3", "2001:db8::3"]);
    // The cooldown that this change begins.
    story.pass_ms(660_000);
    story
}

fn both_are_dead() -> Assessment {
    let mut assessment = eu_is_dead();
    assessment.regions.insert(region("ap"), view(dead(), 3));
    assessment
}

fn pages_of_ap(story: &Story) -> Vec<Severity> {
    story.pages().iter().filter(|page| page.dedup_key == AP_KEY).map(|page| page.severity).collect()
}

#[test]
fn a_second_region_that_goes_down_while_the_first_waits_is_paged_once_and_resolved() {
    for is_restarted in [false, true] {
        let mut story = serving_from_two(AgentMode::Manual);
        story.assess(eu_is_dead());
        story.pass_ms(60_000);
        // Seen from here alone at first.
        let mut suspected = eu_is_dead();
        suspected.regions.insert(region("ap"), view(dead(), 1));
        story.assess(suspected);
        story.pass_ms(1_000);
        assert_eq!(pages_of_ap(&story), [Severity::Warning]);
        story.assess(both_are_dead());
        story.pass_ms(600_000);
        assert_eq!(pages_of_ap(&story), [Severity::Warning, Severity::Critical]);
        assert_eq!(story.runbook.phase(), Phase::Paged);
        assert!(story.runbook.status(story.now).next.contains("ap is down as well"));
        if is_restarted {
            story.restart();
        }
        story.assess(all_well());
        story.pass_ms(2_000);
        let is_resolved =
            |task: &Task| matches!(&task.work, Work::ResolvePage { dedup_key, .. } if dedup_key == AP_KEY);
        assert_eq!(story.performed.iter().filter(|task| is_resolved(task)).count(), 1);
        assert_eq!(story.runbook.phase(), Phase::Watching);
    }
}

#[test]
fn a_second_region_that_is_back_before_its_page_wakes_nobody() {
    let mut story = serving_from_two(AgentMode::Manual);
    story.assess(eu_is_dead());
    story.pass_ms(10_000);
    story.assess(both_are_dead());
    story.pass_ms(200);
    story.assess(eu_is_dead());
    story.pass_ms(10_000);
    assert_eq!(pages_of_ap(&story), []);
}

#[test]
fn a_second_region_is_taken_up_when_the_first_was_declined() {
    let mut story = serving_from_two(AgentMode::Automatic);
    story.assess(eu_is_dead());
    story.pass_ms(400);
    story.order(Command::Decline).unwrap();
    story.pass_ms(60_000);
    assert_eq!(story.runbook.phase(), Phase::Declined);
    story.assess(both_are_dead());
    story.pass_ms(10_000);
    assert_eq!(story.record, record(&["192.0.2.2"]), "{:?}", story.phases());
    assert_eq!(pages_of_ap(&story), [Severity::Critical]);
    let incidents = story.phases().iter().filter(|phase| **phase == Phase::Suspect).count();
    story.pass_ms(2_000_000);
    assert_eq!((incidents, story.count(Step::WriteRecord)), (2, 1), "the first is not begun again");
    assert_eq!(story.runbook.phase(), Phase::Watching);
}

#[test]
fn a_second_region_is_taken_up_when_the_agent_can_act_for_it_and_not_for_the_first() {
    let mut story = serving_from_two(AgentMode::Automatic);
    let link_is_up = |mut assessment: Assessment| {
        assessment.regions.get_mut(&region("eu")).unwrap().link_is_up = true;
        assessment
    };
    story.assess(link_is_up(eu_is_dead()));
    story.pass_ms(60_000);
    assert_eq!(story.runbook.phase(), Phase::Paged);
    story.assess(link_is_up(both_are_dead()));
    story.pass_ms(10_000);
    assert_eq!(story.record, record(&["192.0.2.2"]), "{:?}", story.phases());
}

#[test]
fn a_declined_failback_does_not_keep_its_region_from_an_incident() {
    let timing = Timing { cooldown_ms: 1_000, ..Timing::default() };
    let failback = Failback::AfterMs(10_000);
    let mut story = Story::new(RunbookConfig { failback, timing, mode: AgentMode::Manual, ..config() });
    story.assess(eu_is_dead());
    story.pass_ms(400);
    story.order(Command::Ack).unwrap();
    story.pass_ms(3_000);
    story.assess(all_well());
    story.pass_ms(12_000);
    story.order(Command::Decline).unwrap();
    story.assess(eu_is_dead());
    story.pass_ms(1_000);
    let status = story.runbook.status(story.now);
    assert!(!matches!(status.phase, Phase::Declined), "{status:?}");
}
