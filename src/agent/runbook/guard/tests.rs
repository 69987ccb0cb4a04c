use std::collections::BTreeMap;

use super::super::assessment::{RegionView, Votes};
use super::super::ledger::Switch;
use super::super::test_support::{config, record, region, set};
use super::*;

const NOW: UnixMs = UnixMs(1_000_000_000);

/// `eu` is dead by all votes, `us` (this node's) and `ap` are healthy.
fn assessment() -> Assessment {
    let view = |standing: Standing, cannot_see: u32| RegionView {
        standing,
        votes: Votes { cannot_see, can_see: 3 - cannot_see, voters: 3 },
        link_is_up: false,
        last_healthy: None,
    };
    let dead = Standing::Unreachable { why: "refused".to_owned() };
    let regions = BTreeMap::from([
        (region("eu"), view(dead, 3)),
        (region("us"), view(Standing::Healthy, 0)),
        (region("ap"), view(Standing::Healthy, 0)),
    ]);
    Assessment { regions, elected: true, unfit: None }
}

/// Everything that the rules look at, all of it in favour of moving from `eu` to `us`.
struct Case {
    config: RunbookConfig,
    assessment: Assessment,
    assessed_at: UnixMs,
    frozen: Option<String>,
    journal_fails: Option<String>,
    ledger: Ledger,
    cause: Cause,
    target: Region,
    approval: Approval,
    before: RegionSet,
    after: RegionSet,
    pass: Pass,
}

impl Case {
    fn new() -> Self {
        Self {
            config: config(),
            assessment: assessment(),
            assessed_at: NOW,
            frozen: None,
            journal_fails: None,
            ledger: Ledger::default(),
            cause: Cause::Signal,
            target: region("us"),
            approval: Approval::Policy,
            before: set(&["eu"]),
            after: set(&["us"]),
            pass: Pass { target: region("us"), at: NOW },
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            now: NOW,
            config: &self.config,
            assessment: &self.assessment,
            assessed_at: self.assessed_at,
            frozen: self.frozen.as_deref(),
            journal_fails: self.journal_fails.as_deref(),
            ledger: &self.ledger,
        }
    }

    fn objections(&self) -> Vec<String> {
        let (incident, failed) = (IncidentId("eu-1".to_owned()), region("eu"));
        let intended = Intended {
            incident: &incident,
            region: &failed,
            cause: self.cause,
            target: &self.target,
            approval: &self.approval,
            before: &self.before,
            after: &self.after,
        };
        before_a_write(&self.facts(), &intended, &self.pass, &record(&["192.0.2.2"]))
    }

    fn switched(&mut self, incident: &str, ago_ms: u64, wanted: &str) {
        self.ledger.announce(Switch {
            at: UnixMs(NOW.0 - ago_ms),
            incident: IncidentId(incident.to_owned()),
            expected: record(&["192.0.2.1"]),
            wanted: record(&[wanted]),
        });
    }

    fn see(&mut self, name: &str, standing: Standing, cannot_see: u32) {
        let view = self.assessment.regions.get_mut(&region(name)).unwrap();
        view.standing = standing;
        view.votes = Votes { cannot_see, can_see: 0, voters: 3 };
    }
}

fn sick() -> Standing {
    Standing::Sick { reasons: vec!["stalled".to_owned()] }
}

/// Each rule alone refuses, and its text says so.
#[test]
fn one_thing_that_is_not_right_is_enough() {
    assert_eq!(Case::new().objections(), [""; 0]);
    type Spoil = fn(&mut Case);
    let table: [(&str, Spoil); 20] = [
        ("none of the agent's regions", |case| case.config.regions.remove(1).weight = 0),
        ("mode is observe", |case| case.config.mode = AgentMode::Observe),
        ("frozen (a release)", |case| case.frozen = Some("a release".to_owned())),
        ("journal cannot be written", |case| case.journal_fails = Some("no space".to_owned())),
        ("last looked at", |case| case.assessed_at = UnixMs(NOW.0 - 3_001)),
        ("not fit to act (a stalled thread)", |case| {
            case.assessment.unfit = Some("a stalled thread".to_owned());
        }),
        ("another node acts", |case| case.assessment.elected = false),
        ("its agent acts", |case| {
            (case.target, case.after) = (region("ap"), set(&["ap"]));
            case.pass.target = region("ap");
        }),
        ("most of those who look do not say", |case| case.see("eu", sick(), 1)),
        ("most of those who look do not say", |case| case.see("eu", Standing::Healthy, 0)),
        ("heartbeats arrive", |case| {
            case.assessment.regions.get_mut(&region("eu")).unwrap().link_is_up = true;
        }),
        ("cannot take over: it is sick", |case| case.see("us", sick(), 0)),
        ("traffic would go to ap", |case| {
            case.see("ap", sick(), 0);
            case.after = set(&["us", "ap"]);
        }),
        ("ap would come into service without", |case| case.after = set(&["us", "ap"])),
        ("would not lead to the region", |case| case.after = set(&[])),
        ("no healthy region would serve", |case| case.after = set(&[])),
        ("nothing to change", |case| case.before = set(&["us"])),
        ("cooldown lasts 1 s more", |case| case.switched("us-1", 599_500, "192.0.2.9")),
        ("has not just passed preflight", |case| case.pass.at = UnixMs(NOW.0 - 30_001)),
        ("has switched already", |case| case.switched("eu-1", 1_000, "192.0.2.3")),
    ];
    for (expected, spoil) in table {
        let mut case = Case::new();
        spoil(&mut case);
        let objections = case.objections();
        assert!(objections.iter().any(|text| text.contains(expected)), "{expected}: {objections:?}");
    }
}

#[test]
fn the_cap_of_a_day_is_only_passed_by_hand() {
    let mut case = Case::new();
    let mut day = |count: u64| {
        case.ledger = Ledger::default();
        for number in 0..count {
            case.switched(&format!("us-{number}"), 600_000 + number, "192.0.2.9");
        }
        case.objections()
    };
    assert_eq!(day(2), [""; 0]);
    assert!(day(3)[0].contains("3 switches were made today"));
    case.approval = Approval::Person("Ada".to_owned());
    assert_eq!(case.objections().len(), 1, "an acknowledgement is no start");
    case.approval = Approval::Hand("Ada".to_owned());
    assert_eq!(case.objections(), [""; 0]);
}

#[test]
fn a_person_who_starts_skips_detection_and_pace_and_nothing_else() {
    let mut case = Case::new();
    (case.cause, case.approval) = (Cause::Person, Approval::Hand("Ada".to_owned()));
    case.switched("us-1", 1_000, "192.0.2.9");
    case.see("eu", Standing::Healthy, 0);
    assert_eq!(case.objections(), [""; 0]);
    case.see("us", sick(), 0);
    assert!(!case.objections().is_empty());
}

#[test]
fn the_same_change_may_be_tried_again() {
    let mut case = Case::new();
    case.switched("eu-1", 1_000, "192.0.2.2");
    assert_eq!(case.objections(), [""; 0]);
}

#[test]
fn the_first_healthy_region_in_order_takes_over_and_one_in_doubt_is_not_passed_over() {
    let mut case = Case::new();
    let choose =
        |case: &Case, before: &[&str]| choose_target(&case.facts(), &region("eu"), &set(before), None);
    assert_eq!(choose(&case, &["eu"]), Ok(region("us")));
    assert_eq!(choose(&case, &["eu", "ap"]), Ok(region("ap")), "one that serves comes first");
    case.see("us", sick(), 1);
    assert!(choose(&case, &["eu"]).is_err());
    case.see("us", sick(), 2);
    assert_eq!(choose(&case, &["eu"]), Ok(region("ap")));
    case.see("ap", sick(), 2);
    assert!(choose(&case, &["eu"]).unwrap_err().contains("no other region"));
}

#[test]
fn what_is_left_serves_and_the_target_with_it() {
    for (before, target, after) in [
        (&["eu"][..], "us", &["us"][..]),
        (&["eu", "us"], "us", &["us"]),
        (&["eu", "us", "ap"], "us", &["us", "ap"]),
        (&["eu", "ap"], "us", &["us", "ap"]),
    ] {
        assert_eq!(set_without(&assessment(), &region("eu"), &region(target), &set(before)), set(after));
    }
}

#[test]
fn nothing_is_put_back_to_a_region_that_is_not_healthy() {
    let case = Case::new();
    let restore = |before: &[&str], cause| {
        let change =
            Change { expected: record(&[]), wanted: record(&[]), before: set(before), after: set(&["us"]) };
        before_a_restore(&case.facts(), &change, cause)
    };
    assert!(restore(&["eu"], Cause::Signal)[0].contains("leads to eu, which is not healthy"));
    assert!(!restore(&["eu", "us"], Cause::Signal).is_empty());
    assert!(restore(&["ap"], Cause::Signal).is_empty());
    assert!(restore(&["eu"], Cause::Drill).is_empty());
}
