//! How close a cluster comes to one bucket, in the cases that matter most.

use openclaw_rating::bucket::sharing::{Consistency, Partition, Share, Sharing};

use crate::network::{Cut, Faults};
use crate::world::{Crash, Demand, Outcome, Scenario, World};

const RATE: u64 = 100;
const LENGTH_MS: u64 = 60_000;

fn cluster(nodes: usize, delay_ms: u64, loss: f64) -> Scenario {
    Scenario {
        seed: 1,
        nodes,
        keys: 1,
        rate: RATE,
        burst: RATE,
        most_cost: 1,
        sharing: Sharing::default(),
        faults: Faults { delay_ms, loss, ..Faults::default() },
        cuts: vec![],
        crashes: vec![],
        reloads: vec![],
        demand: vec![],
        drift_ppm: vec![0; nodes],
        flush_ms: 20,
        length_ms: LENGTH_MS,
    }
}

/// Demand by node, in tokens a second, from the second second on, when all nodes know each other.
fn asking(scenario: Scenario, tokens_per_s: &[f64]) -> Scenario {
    let demand =
        |(node, tokens_per_s): (usize, &f64)| Demand { node, from_ms: 1000, tokens_per_s: *tokens_per_s };
    Scenario { demand: tokens_per_s.iter().enumerate().map(demand).collect(), ..scenario }
}

/// The two nodes cannot hear each other for a third of the time.
fn cut(scenario: Scenario, share: Share) -> Scenario {
    let sharing = Sharing { partition: Partition::Share, share, consistency: Consistency::Eventual };
    let (begin_ms, end_ms) = (20_000, 40_000);
    let cuts = [(1, 2), (2, 1)].map(|(from, to)| Cut { from, to, begin_ms, end_ms }).to_vec();
    Scenario { sharing, cuts, ..scenario }
}

/// What was admitted for each token that one bucket would have.
fn ratio(scenario: Scenario) -> f64 {
    let Outcome { admitted, central, asked, highest_excess } = World::new(scenario).run().unwrap()[0];
    println!(
        "admitted {admitted} of {asked}, one bucket {central}, ratio {:.4}, excess {highest_excess:.0}",
        admitted / central
    );
    admitted / central
}

#[test]
fn two_saturated_regions_admit_what_one_bucket_does() {
    let ratio = ratio(asking(cluster(2, 40, 0.0), &[300.0, 300.0]));
    assert!((ratio - 1.0).abs() <= 0.002, "{ratio}");
}

#[test]
fn a_third_of_all_datagrams_lost_changes_little() {
    let ratio = ratio(asking(cluster(2, 40, 0.3), &[300.0, 300.0]));
    assert!((ratio - 1.0).abs() <= 0.003, "{ratio}");
}

#[test]
fn five_regions_far_apart_admit_what_one_bucket_does() {
    let ratio = ratio(asking(cluster(5, 150, 0.0), &[300.0; 5]));
    assert!((ratio - 1.0).abs() <= 0.01, "{ratio}");
}

#[test]
fn a_cut_of_twenty_seconds_admits_little_over_whatever_the_demand() {
    let demands = [
        [300.0, 300.0],
        [300.0, 5.0],
        [5.0, 300.0],
        [60.0, 60.0],
        [90.0, 30.0],
        [120.0, 20.0],
        [300.0, 50.0],
    ];
    for share in [Share::Equal, Share::Observed] {
        for demand in demands {
            let ratio = ratio(asking(cut(cluster(2, 40, 0.0), share), &demand));
            assert!(ratio <= 1.005, "{share:?} {demand:?}: {ratio}");
        }
    }
}

/// Who is not heard and hears would take the whole limit, for to it the other is idle.
#[test]
fn a_cut_in_one_direction_admits_no_more_than_a_cut_in_both() {
    for share in [Share::Equal, Share::Observed] {
        for demand in [[300.0, 300.0], [300.0, 50.0], [60.0, 60.0]] {
            for direction in [0, 1] {
                let mut scenario = asking(cut(cluster(2, 40, 0.0), share), &demand);
                scenario.cuts = vec![scenario.cuts[direction]];
                let ratio = ratio(scenario);
                assert!(ratio <= 1.005, "{share:?} {demand:?}, direction {direction}: {ratio}");
            }
        }
    }
}

#[test]
fn a_cut_in_which_demand_turns_round_admits_little_over() {
    for share in [Share::Equal, Share::Observed] {
        let mut scenario = asking(cut(cluster(2, 40, 0.0), share), &[300.0, 5.0]);
        for (node, tokens_per_s) in [(0, 5.0), (1, 300.0)] {
            scenario.demand.push(Demand { node, from_ms: 30_000, tokens_per_s });
        }
        let ratio = ratio(scenario);
        assert!(ratio <= 1.005, "{share:?}: {ratio}");
    }
}

#[test]
fn observed_shares_use_the_budget_when_one_side_asks_for_all_of_it() {
    let ratio = ratio(asking(cut(cluster(2, 40, 0.0), Share::Observed), &[300.0, 5.0]));
    assert!(ratio >= 0.98, "{ratio}");
}

/// What was charged for a peer long ago and has drained is not what it used just before the end of the cut.
#[test]
fn what_a_peer_used_last_in_a_cut_is_charged_though_more_was_charged_for_it_before() {
    let mut scenario = cut(cluster(2, 40, 0.0), Share::Equal);
    scenario.burst = 1000;
    // (node, from, tokens a second): one asks early in the cut, the other in its last second, then the first for all.
    let demand = [
        (0, 20_000, 50.0),
        (0, 35_000, 0.0),
        (1, 39_000, 500.0),
        (1, 40_000, 0.0),
        (0, 41_000, 2000.0),
        (0, 43_000, 0.0),
    ];
    let demand = demand.map(|(node, from_ms, tokens_per_s)| Demand { node, from_ms, tokens_per_s });
    scenario.demand = demand.to_vec();
    let Outcome { admitted, central, highest_excess, .. } = World::new(scenario).run().unwrap()[0];
    assert!(
        highest_excess < 50.0 && admitted >= central * 0.9,
        "{admitted} of {central}, {highest_excess} over"
    );
}

/// What two charged for a third that they could not hear is what the third used, when it is back.
#[test]
fn a_third_region_that_was_cut_off_is_not_charged_for_twice() {
    for share in [Share::Equal, Share::Observed] {
        let mut scenario = asking(cut(cluster(3, 40, 0.0), share), &[300.0, 300.0, 300.0]);
        for (cut, [from, to]) in scenario.cuts.iter_mut().zip([[0b011, 0b100], [0b100, 0b011]]) {
            (cut.from, cut.to) = (from, to);
        }
        // Then it asks for little: what the others are charged too much, nobody uses.
        scenario.demand.push(Demand { node: 2, from_ms: 40_000, tokens_per_s: 5.0 });
        let ratio = ratio(scenario);
        assert!((0.99..=1.005).contains(&ratio), "{share:?}: {ratio}");
    }
}

/// The two cannot tell that the others hear both. What is admitted too much is repaid, up to the bound on debt.
#[test]
fn two_of_several_regions_that_cannot_hear_each_other_take_no_more_than_the_others_leave() {
    for nodes in [3, 5] {
        let scenario = asking(cut(cluster(nodes, 40, 0.0), Share::Equal), &vec![300.0; nodes]);
        let Outcome { admitted, central, highest_excess, .. } = World::new(scenario).run().unwrap()[0];
        let (rate, nodes) = (RATE as f64, nodes as f64);
        // Each takes all but one share, before the cut is noticed all; its end is noticed a little later.
        let most = (1.0 - 2.0 / nodes) * rate * 20.0 + rate;
        assert!(highest_excess <= most, "{nodes} nodes: {highest_excess}, and at most {most}");
        let repaid = highest_excess - (admitted - central);
        let debt = (nodes - 1.0) * (rate + rate * 0.5);
        assert!(repaid >= debt * 0.9, "{nodes} nodes: {repaid} of {debt}");
    }
}

#[test]
fn demand_below_the_limit_is_never_denied() {
    for nodes in [2, 5] {
        let each = RATE as f64 * 0.6 / nodes as f64;
        let scenario = asking(cluster(nodes, 150, 0.1), &vec![each; nodes]);
        let outcome = World::new(scenario).run().unwrap()[0];
        assert_eq!(outcome.admitted, outcome.asked);
    }
}

#[test]
fn a_restart_under_load_refills_nothing() {
    for with_snapshot in [false, true] {
        let mut scenario = asking(cluster(2, 40, 0.0), &[300.0, 300.0]);
        for at_ms in [15_000, 30_000, 45_000] {
            scenario.crashes.push(Crash { with_snapshot, ..crash(0, at_ms, 200) });
        }
        let ratio = ratio(scenario);
        assert!((ratio - 1.0).abs() <= 0.01, "snapshot {with_snapshot}: {ratio}");
    }
}

/// A node dies at a time and starts again after another, with nothing.
fn crash(node: usize, at_ms: u64, down_ms: u64) -> Crash {
    Crash { node, at_ms, down_ms, with_snapshot: false, wall_step_ms: -1, epoch_is_lost: false }
}

/// What its peer charged for it meanwhile is given back there, and must not stay here.
#[test]
fn a_node_that_was_down_admits_what_its_peer_gives_back() {
    let mut scenario = cluster(2, 40, 0.0);
    (scenario.rate, scenario.burst) = (1, 1000);
    scenario.crashes.push(crash(0, 10_000, 5_000));
    // (node, from, tokens a second): one asks while the other is down, then that one for what is left.
    let demand =
        [(0, 1_000, 10.0), (1, 1_000, 10.0), (1, 11_000, 100.0), (1, 14_000, 0.0), (0, 20_000, 200.0)];
    let demand = demand.map(|(node, from_ms, tokens_per_s)| Demand { node, from_ms, tokens_per_s });
    scenario.demand = demand.to_vec();
    let ratio = ratio(scenario);
    assert!((0.995..=1.005).contains(&ratio), "{ratio}");
}

/// Nobody remembers what its former life used in the cut: what was charged for that is given back, and its part of the
/// bucket is full when it starts.
#[test]
fn a_node_that_starts_again_within_a_cut_admits_a_burst_and_its_part_of_one_more_at_most() {
    for down_ms in [200, 5_000] {
        let mut scenario = asking(cut(cluster(2, 40, 0.0), Share::Equal), &[300.0, 300.0]);
        scenario.crashes.push(crash(0, 30_000, down_ms));
        let Outcome { admitted, central, .. } = World::new(scenario).run().unwrap()[0];
        let over = admitted - central;
        // Besides, what the central bucket does not have: the time until the cut is noticed.
        let most = RATE as f64 * (1.0 + 0.5 + 0.5);
        assert!(over <= most, "{over} over after {down_ms} ms");
    }
}
