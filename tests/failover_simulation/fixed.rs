//! Stories that are told in full: what must happen, not only what must not.

use openclaw_rating::agent::orders::AgentMode;
use openclaw_rating::agent::runbook::{Command, Failback};

use crate::faults::{Fault, Faults, Timed};
use crate::person::{OnCall, Typed, name_of};
use crate::provider::values_of;
use crate::run;
use crate::scenario::{Crash, CrashAt, FOR_EVER, Scenario};
use crate::world::Summary;

const DEAD_MS: u64 = 10_000;

/// Two regions; the first serves and dies for ever.
fn first_region_dies() -> Scenario {
    Scenario {
        seed: 1,
        regions: 2,
        nodes_each: 1,
        witnesses: 1,
        serving: vec![0],
        mode: AgentMode::Automatic,
        observer: None,
        dry_run: false,
        failback: Failback::Manual,
        cap: 3,
        probe_every_ms: 500,
        visible_after_ms: 500,
        clock_offset_ms: vec![0; 6],
        faults: Faults(vec![Timed { fault: Fault::Dead(0), from_ms: DEAD_MS, to_ms: FOR_EVER }]),
        crashes: vec![],
        on_call: OnCall::Sleeps,
        typed: vec![],
        edits: vec![],
    }
}

fn with(faults: &[Fault]) -> Scenario {
    let mut scenario = first_region_dies();
    scenario.faults.0.extend(faults.iter().map(|fault| Timed { fault: *fault, from_ms: 0, to_ms: FOR_EVER }));
    scenario
}

fn told(scenario: &Scenario) -> Summary {
    run(scenario.clone(), false).unwrap_or_else(|what| panic!("{what}: {scenario:#?}"))
}

fn has_moved(summary: &Summary) -> bool {
    summary.live == values_of(1)
}

#[test]
fn a_dead_region_is_paged_within_three_seconds_and_left_within_five() {
    for (regions, nodes_each, witnesses) in [(2, 1, 1), (2, 2, 1), (2, 1, 3), (3, 1, 2), (3, 2, 3)] {
        for seed in 0..50 {
            let mut scenario = first_region_dies();
            // The death comes at any moment between two probes.
            scenario.faults.0[0].from_ms += seed * 50;
            let dead_ms = scenario.faults.0[0].from_ms;
            (scenario.seed, scenario.regions, scenario.nodes_each) = (seed, regions, nodes_each);
            scenario.witnesses = witnesses;
            let summary = told(&scenario);
            let after = |at_ms: Option<u64>| at_ms.unwrap() - dead_ms;
            assert!(after(summary.paged_ms) <= 3_000, "{seed}: {summary:?}");
            assert!(has_moved(&summary) && after(summary.changed_ms) <= 5_000, "{seed}: {summary:?}");
        }
    }
}

#[test]
fn what_does_not_matter_does_not_keep_traffic_from_moving() {
    for faults in [
        &[Fault::PagerDown][..],
        &[Fault::Link],
        &[Fault::ProviderHalfDone],
        &[Fault::PagerDown, Fault::Link, Fault::ProviderHalfDone],
        &[Fault::FailsPreflight(0), Fault::FailsUnderLoad(0)],
        &[Fault::DiskFull(0)],
    ] {
        assert!(has_moved(&told(&with(faults))), "{faults:?}");
    }
}

#[test]
fn what_must_keep_traffic_where_it_is_does() {
    for faults in [
        &[Fault::Witness(0)][..],
        &[Fault::Uplink(1)],
        &[Fault::ProviderDown],
        &[Fault::FailsPreflight(1)],
        &[Fault::Sick(1)],
        &[Fault::DiskFull(1)],
    ] {
        assert!(!has_moved(&told(&with(faults))), "{faults:?}");
    }
    for mode in [AgentMode::Manual, AgentMode::Observe] {
        assert!(!has_moved(&told(&Scenario { mode, ..first_region_dies() })), "{mode:?}");
    }
    assert!(!has_moved(&told(&Scenario { dry_run: true, ..first_region_dies() })));
    let declined = Scenario {
        on_call: OnCall::Declines { after_ms: 0 },
        mode: AgentMode::Manual,
        ..first_region_dies()
    };
    assert!(!has_moved(&told(&declined)));
    let freeze = Command::Freeze { why: "a release".to_owned() };
    let typed = vec![Typed { at_ms: 2_000, node: 1, command: freeze }];
    assert!(!has_moved(&told(&Scenario { typed, ..first_region_dies() })));
}

#[test]
fn with_the_link_cut_and_everybody_alive_nobody_moves_anything() {
    for nodes_each in [1, 2] {
        let mut scenario = with(&[Fault::Link]);
        scenario.faults.0.remove(0);
        let summary = told(&Scenario { nodes_each, ..scenario });
        assert_eq!((summary.changed_ms, summary.paged_ms), (None, None));
    }
}

#[test]
fn a_person_who_acknowledges_moves_traffic_in_manual_mode() {
    let on_call = OnCall::Acknowledges { after_ms: 5_000 };
    assert!(has_moved(&told(&Scenario { mode: AgentMode::Manual, on_call, ..first_region_dies() })));
}

#[test]
fn a_change_that_does_not_work_is_put_back_only_to_a_region_that_lives() {
    let mut scenario = with(&[Fault::FailsUnderLoad(1)]);
    assert!(has_moved(&told(&scenario)), "the old region is dead: a person goes on from here");
    scenario.faults.0.remove(0);
    let start = Command::Start { from: name_of(0), to: None, why: String::new() };
    scenario.typed = vec![Typed { at_ms: DEAD_MS, node: 1, command: start }];
    let summary = told(&scenario);
    assert!(summary.changed_ms.is_some() && summary.live == values_of(0), "{summary:?}");
}

#[test]
fn a_region_that_comes_back_gets_its_traffic_by_the_rule_only() {
    let mut scenario = first_region_dies();
    scenario.faults.0[0].to_ms = DEAD_MS + 8_000;
    assert!(has_moved(&told(&scenario)));
    scenario.failback = Failback::AfterMs(20_000);
    // The rule waits for the cooldown, within an incident that is open meanwhile.
    assert_eq!(told(&scenario).live, values_of(0));
}

#[test]
fn a_region_that_dies_while_another_is_declined_is_left_once_a_person_says_so() {
    let dies = |region, from_ms| Timed { fault: Fault::Dead(region), from_ms, to_ms: FOR_EVER };
    let typed = |at_ms, command| Typed { at_ms, node: 2, command };
    let scenario = Scenario {
        regions: 3,
        witnesses: 3,
        serving: vec![0, 1],
        mode: AgentMode::Manual,
        faults: Faults(vec![dies(0, DEAD_MS), dies(1, 2 * DEAD_MS)]),
        typed: vec![typed(DEAD_MS + 5_000, Command::Decline), typed(2 * DEAD_MS + 6_000, Command::Ack)],
        ..first_region_dies()
    };
    assert_eq!(told(&scenario).live, values_of(2));
}

#[test]
fn a_run_that_was_aborted_during_its_write_stays_stopped_over_a_crash_at_any_line() {
    let start = Command::Start { from: name_of(0), to: None, why: String::new() };
    let order = |order| {
        let typed = |at_ms, command| Typed { at_ms, node: 1, command };
        let mut scenario = with(&[Fault::ProviderSlow]);
        scenario.faults.0.remove(0);
        scenario.typed = vec![typed(DEAD_MS, start.clone()), typed(DEAD_MS + 4_000, order)];
        scenario
    };
    for order in [order(Command::Abort), order(Command::Rollback)] {
        let lines = told(&order).lines[1];
        for line in 1..=lines {
            for at in [CrashAt::Before(line), CrashAt::After(line)] {
                // What must not happen is among the promises.
                told(&Scenario { crashes: vec![Crash { node: 1, at, down_ms: 300 }], ..order.clone() });
            }
        }
    }
}

#[test]
fn a_crash_at_any_line_neither_loses_the_switch_nor_repeats_it() {
    let lines = told(&first_region_dies()).lines[1];
    assert!(lines > 20, "{lines}");
    for line in 1..=lines + 4 {
        for at in [CrashAt::Before(line), CrashAt::After(line)] {
            for down_ms in [200, 4_000] {
                for fault in [&[][..], &[Fault::ProviderHalfDone], &[Fault::Link, Fault::PagerDown]] {
                    let crashes = vec![Crash { node: 1, at, down_ms }];
                    let summary = told(&Scenario { crashes, ..with(fault) });
                    assert!(has_moved(&summary), "{at:?} {down_ms} {fault:?}: {summary:?}");
                }
            }
        }
    }
}
