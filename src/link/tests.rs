//! Promises of links that speak with each other over a pipe.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::pipe::{Cluster, Counters, DETECT, FLUSH, Weather, address, config, node};
use super::*;
use crate::replica::NodeId;

const CLEAR: Weather =
    Weather { lost: 0, repeated: 0, damaged: 0, truncated: 0, delay_ms: 20, jitter_ms: 0, cut: false };
const STORM: Weather =
    Weather { lost: 30, repeated: 20, damaged: 5, truncated: 5, delay_ms: 20, jitter_ms: 60, cut: false };

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn stats(cluster: &Cluster, number: usize) -> PeerStats {
    cluster.nodes[number - 1].0.peer_stats().next().unwrap()
}

fn met(nodes: u8, lines: u32, weather: Weather) -> Cluster {
    let mut cluster = Cluster::new(nodes, lines, weather, 7);
    cluster.run(ms(1000));
    cluster
}

#[test]
fn nodes_converge_and_charge_once_whatever_the_weather() {
    for (nodes, weather, seed) in [(2, CLEAR, 1), (2, STORM, 2), (3, STORM, 3)] {
        let mut cluster = Cluster::new(nodes, 300, weather, seed);
        for _ in 0..200 {
            let at = cluster.draw(u64::from(nodes)) as usize;
            let (line, tokens) = (cluster.draw(300) as u32, 1 + cluster.draw(5));
            cluster.nodes[at].1.charge(line, tokens);
            cluster.run(ms(5));
        }
        cluster.run(ms(5000));
        cluster.assert_converged();
        for (link, _) in &cluster.nodes {
            assert!(link.peer_stats().all(|peer| peer.pending == 0 && peer.synced && peer.connected));
        }
    }
}

#[test]
fn a_change_arrives_within_a_flush_and_the_delay() {
    let mut cluster = met(2, 10, CLEAR);
    cluster.nodes[0].1.charge(3, 5);
    cluster.run(FLUSH + ms(CLEAR.delay_ms + 5));
    assert_eq!(cluster.nodes[1].1.charged.get(&(1, 3)), Some(&5));
    cluster.run(ms(100));
    let told = stats(&cluster, 1);
    assert_eq!(told.convergence.counts().iter().sum::<u64>(), 1);
    // It changed right after a flush, and the next one told of it.
    let lag = told.convergence.sum();
    assert!(lag >= FLUSH + ms(CLEAR.delay_ms) - ms(2) && lag <= ms(45), "{lag:?}");
    assert!(told.rtt.unwrap().abs_diff(ms(40)) < ms(2), "{:?}", told.rtt);
    assert_eq!((told.lag, told.counters.entries_resent), (Duration::ZERO, 0));
}

#[test]
fn a_node_that_restarts_is_told_of_all_and_its_peer_goes_on() {
    let mut cluster = met(2, 5000, STORM);
    (0..5000).for_each(|line| cluster.nodes[0].1.charge(line, 2));
    cluster.run(ms(2000));
    cluster.restart(2, 77);
    cluster.run(ms(6000));
    cluster.assert_converged();
    assert!(cluster.nodes[1].1.synced.contains(&1));
    assert_eq!(stats(&cluster, 1).counters.boots, 2);
    assert_eq!(cluster.nodes[0].1.started.get(&2), Some(&2), "the store is told of each boot");
}

#[test]
fn silence_makes_a_peer_absent_and_its_return_is_told() {
    let mut cluster = met(2, 10, CLEAR);
    cluster.weather.cut = true;
    cluster.run(DETECT + ms(60));
    assert_eq!(cluster.nodes[0].1.present.get(&2), Some(&false));
    cluster.nodes[0].1.charge(1, 1);
    cluster.run(ms(3000));
    let away = stats(&cluster, 1);
    assert!(away.lag >= ms(2900) && away.absent >= ms(2900) && away.phi > 50.0, "{away:?}");
    cluster.weather.cut = false;
    cluster.run(ms(500));
    assert_eq!(cluster.nodes[0].1.present.get(&2), Some(&true));
    cluster.assert_converged();
}

#[test]
fn an_absent_peer_costs_heartbeats_alone() {
    let mut cluster = met(2, 20_000, CLEAR);
    cluster.weather.cut = true;
    cluster.run(ms(1000));
    let before = stats(&cluster, 1).counters;
    (0..20_000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.run(ms(1000));
    let after = stats(&cluster, 1);
    assert_eq!((after.pending, after.in_flight), (20_000, 0));
    assert_eq!(after.counters.entries_sent, before.entries_sent);
    assert!(after.counters.datagrams_sent - before.datagrams_sent <= 51);
}

#[test]
fn what_is_forged_cut_long_or_foreign_moves_nothing_and_is_counted() {
    let mut cluster = met(2, 10, CLEAR);
    cluster.nodes[0].1.charge(1, 1);
    cluster.weather.cut = true;
    cluster.run(FLUSH);
    let datagram = cluster.recorded(1, 2);
    let before = stats(&cluster, 2).counters;
    for length in 0..datagram.len() {
        assert!(matches!(cluster.hand(2, &datagram[..length]), Handled::Rejected(_)), "{length} bytes");
    }
    let long = vec![0; MAX_DATAGRAM_BYTES + 1];
    assert_eq!(cluster.hand(2, &long), Handled::Rejected(Rejected::TooLong { bytes: long.len() }));
    let mut reject = |at: usize, value: u8| {
        let mut forged = datagram.clone();
        forged[at] = value;
        cluster.hand(2, &forged)
    };
    assert_eq!(reject(0, 9), Handled::Rejected(Rejected::Version { theirs: 9 }));
    assert_eq!(reject(1, 9), Handled::Rejected(Rejected::UnknownNode { from: 9 }));
    assert_eq!(reject(2, 9), Handled::Rejected(Rejected::NotForThisNode { to: 9 }));
    assert_eq!(reject(3, 9), Handled::Rejected(Rejected::Unopened), "a byte that is always zero");
    assert_eq!(reject(4, !datagram[4]), Handled::Rejected(Rejected::Cluster));
    assert_eq!(reject(9, !datagram[9]), Handled::Rejected(Rejected::Unopened), "another salt");
    assert_eq!(reject(60, !datagram[60]), Handled::Rejected(Rejected::Unopened));
    assert_eq!(stats(&cluster, 2).counters, before);
    assert!(cluster.nodes[1].1.charged.is_empty());
    assert!(cluster.nodes[1].0.rejected().iter().map(|(_, count)| count).sum::<u64>() > 30);
    assert_eq!(cluster.hand(2, &datagram), Handled::Accepted { from: node(1), entries: 1 });
    assert_eq!(cluster.hand(2, &datagram), Handled::Rejected(Rejected::Replayed));
    assert_eq!(stats(&cluster, 2).counters.from_elsewhere, 1);
}

#[test]
fn what_an_earlier_boot_said_never_moves_a_session() {
    let mut cluster = met(2, 10, CLEAR);
    cluster.nodes[0].1.charge(1, 1);
    cluster.run(ms(300));
    let old: Vec<_> = cluster.recorded.drain(..).map(|sent| sent.bytes).collect();
    cluster.restart(1, 55);
    cluster.run(ms(500));
    let before = stats(&cluster, 2).counters;
    let moved = old.iter().filter(|bytes| matches!(cluster.hand(2, bytes), Handled::Accepted { .. })).count();
    assert_eq!(moved, 0);
    assert_eq!(stats(&cluster, 2).counters.boots, before.boots);
    cluster.nodes[0].1.charge(2, 4);
    cluster.run(ms(300));
    assert_eq!(cluster.nodes[1].1.charged.get(&(1, 2)), Some(&4), "the session goes on");
}

#[test]
fn a_second_node_of_one_number_is_noticed() {
    let mut cluster = met(2, 10, CLEAR);
    let mut twin = Link::new(&config(1, 2), [200; 32], 10, cluster.now).unwrap();
    let mut store = Counters::new(10);
    for _ in 0..50 {
        let mut out = [0; MAX_DATAGRAM_BYTES];
        while let Some((_, length)) = twin.poll_transmit(cluster.now, &mut store, &mut out) {
            let handled = cluster.hand(2, &out[..length]);
            assert_eq!(handled, Handled::Rejected(Rejected::Unconfirmed));
        }
        cluster.run(FLUSH);
    }
    let told = stats(&cluster, 2);
    assert!(told.counters.duplicate_node > 10 && told.counters.boots == 1, "{told:?}");
    assert_eq!(cluster.nodes[1].0.duplicate_nodes(), told.counters.duplicate_node, "of all peers");
}

#[test]
fn a_cluster_with_another_secret_is_not_heard() {
    let mut cluster = met(2, 10, CLEAR);
    let foreign = LinkConfig { secret: Secret::new([1; 32]), ..config(1, 2) };
    let mut link = Link::new(&foreign, [3; 32], 10, cluster.now).unwrap();
    let mut out = [0; MAX_DATAGRAM_BYTES];
    let (_, length) = link.poll_transmit(cluster.now, &mut Counters::new(10), &mut out).unwrap();
    assert_eq!(cluster.hand(2, &out[..length]), Handled::Rejected(Rejected::Cluster));
}

#[test]
fn the_cap_holds_and_what_is_urgent_goes_first() {
    let mut cluster = met(2, 4000, CLEAR);
    let slow = LinkConfig { max_bytes_per_second: 200_000, ..config(1, 2) };
    cluster.nodes[0].0 = Link::new(&slow, [66; 32], 4000, cluster.now).unwrap();
    cluster.run(ms(500));
    let before = stats(&cluster, 1).counters;
    cluster.nodes[0].1.urgent = (100..300).collect();
    (0..4000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.nodes[1].1.order.clear();
    cluster.run(ms(500));
    let sent = stats(&cluster, 1).counters;
    let (bytes, datagrams) =
        (sent.bytes_sent - before.bytes_sent, sent.datagrams_sent - before.datagrams_sent);
    let most = 100_000 + 2 * 1280 + 8_000;
    assert!(bytes + 48 * datagrams <= most, "{bytes} bytes in {datagrams} datagrams");
    let first = &cluster.nodes[1].1.order[..300];
    let urgent = first.iter().filter(|line| (100..300).contains(*line)).count();
    assert!(urgent >= 180, "{urgent} of the first 300");
    cluster.run(ms(4000));
    cluster.assert_converged();
}

#[test]
fn under_a_cap_and_loss_all_is_told_in_the_end_whatever_was_urgent() {
    for seed in 1..=8 {
        let weather = Weather { lost: 20, repeated: 10, delay_ms: 10, jitter_ms: 30, ..CLEAR };
        let mut cluster = met(2, 2000, weather);
        let slow = LinkConfig { max_bytes_per_second: 150_000, ..config(1, 2) };
        cluster.nodes[0].0 = Link::new(&slow, [seed; 32], 2000, cluster.now).unwrap();
        for _ in 0..60 {
            cluster.nodes[0].1.urgent = (0..100).map(|_| cluster.draw(2000) as u32).collect();
            for _ in 0..200 {
                let line = cluster.draw(2000) as u32;
                cluster.nodes[0].1.charge(line, 1);
            }
            cluster.run(ms(20));
        }
        cluster.run(ms(5000));
        cluster.assert_converged();
        assert_eq!(stats(&cluster, 1).pending, 0, "seed {seed}");
    }
}

#[test]
fn a_changed_bucket_costs_at_most_40_bytes_on_the_wire() {
    let mut cluster = met(2, 10_000, CLEAR);
    let before = stats(&cluster, 1).counters;
    (0..10_000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.run(ms(25));
    let after = stats(&cluster, 1).counters;
    let datagrams = after.datagrams_sent - before.datagrams_sent;
    let bytes = after.bytes_sent - before.bytes_sent + 48 * datagrams;
    let entries = after.entries_sent - before.entries_sent;
    assert!(entries >= 10_000 && bytes <= 40 * entries, "{bytes} bytes for {entries} entries");
    assert!(entries / datagrams >= 34);
}

#[test]
fn a_clock_that_stands_still_or_jumps_breaks_nothing() {
    let mut cluster = met(2, 10, CLEAR);
    let (link, store) = &mut cluster.nodes[0];
    let mut out = [0; MAX_DATAGRAM_BYTES];
    let far = MonotonicNs(cluster.now.0 * 1000);
    for now in [far, far, MonotonicNs(0), MonotonicNs(0), MonotonicNs(u64::MAX), cluster.now] {
        let datagrams = std::iter::from_fn(|| link.poll_transmit(now, store, &mut out)).count();
        assert!(datagrams <= 2);
        assert!(link.next_deadline() > now || now.0 == u64::MAX);
    }
    cluster.nodes[0].1.charge(1, 1);
    cluster.run(ms(500));
    cluster.assert_converged();
}

#[test]
fn a_link_that_cannot_be_is_refused() {
    let make = |config: &LinkConfig| Link::new(config, [0; 32], 1, MonotonicNs(0)).err();
    assert_eq!(make(&config(1, 17)), Some(LinkError::TooManyNodes(17)));
    let twice = LinkConfig { node: node(2), ..config(1, 2) };
    assert_eq!(make(&twice), Some(LinkError::Duplicate(node(2))));
    assert_eq!(
        make(&LinkConfig { flush_interval: Duration::ZERO, ..config(1, 2) }),
        Some(LinkError::NoInterval)
    );
    assert_eq!(NodeId::new(1), Some(config(1, 2).node));
    assert!(is_same_host("[::ffff:127.0.0.1]:7000".parse().unwrap(), address(1)));
}

#[test]
fn a_peer_that_hears_and_is_not_heard_shares_no_limits_on_either_side() {
    let mut cluster = met(2, 10, CLEAR);
    cluster.silent = Some(2);
    cluster.run(DETECT + ms(100));
    for (at, other) in [(0, 2), (1, 1)] {
        assert_eq!(cluster.nodes[at].1.present.get(&other), Some(&false), "node {}", at + 1);
    }
    let [deafened, mute] = [1, 2].map(|number| stats(&cluster, number));
    assert!(!deafened.present && mute.present && mute.deaf, "{deafened:?} {mute:?}");
    assert_eq!(mute.absent, Duration::ZERO, "node 1 is still heard");
    cluster.nodes[1].1.charge(4, 3);
    cluster.run(ms(1000));
    assert!(stats(&cluster, 2).lag >= ms(900));
    cluster.silent = None;
    cluster.run(ms(150));
    assert!(cluster.nodes.iter().all(|(_, store)| store.present.values().all(|present| *present)));
    cluster.run(ms(1850));
    cluster.assert_converged();
}

#[test]
fn peers_that_meet_for_the_first_time_are_never_absent() {
    let cluster = met(2, 10, Weather { delay_ms: 100, ..CLEAR });
    assert!(cluster.nodes.iter().all(|(_, store)| store.present.is_empty()));
}

#[test]
fn a_flush_that_is_asked_for_in_the_middle_of_another_takes_nothing_from_a_peer() {
    let mut cluster = met(3, 1000, CLEAR);
    (0..1000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.now = cluster.now.after(FLUSH);
    let (now, mut out) = (cluster.now, [0; MAX_DATAGRAM_BYTES]);
    let (link, store) = &mut cluster.nodes[0];
    while link.poll_transmit(now, store, &mut out).unwrap().0 != address(3) {}
    link.flush_now(now);
    // What is not sent counts as lost.
    while link.poll_transmit(now, store, &mut out).is_some() {}
    cluster.run(ms(2000));
    cluster.assert_converged();
}

#[test]
fn heartbeats_pass_the_cap() {
    let mut cluster = met(2, 100, CLEAR);
    let slow = LinkConfig { max_bytes_per_second: 1, ..config(1, 2) };
    cluster.nodes[0].0 = Link::new(&slow, [66; 32], 100, cluster.now).unwrap();
    (0..100).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.run(ms(3000));
    assert_eq!(cluster.nodes[1].1.present.get(&1), None, "node 1 was never absent");
    assert!(stats(&cluster, 1).pending > 0);
}

#[test]
fn a_lost_acknowledgement_costs_nothing() {
    let mut cluster = met(2, 100, CLEAR);
    for round in 0..50 {
        cluster.nodes[0].1.charge(round, 1);
        // Two of each three flushes of node 2 are lost.
        cluster.silent = (round % 3 != 0).then_some(2);
        cluster.run(FLUSH);
    }
    cluster.silent = None;
    cluster.run(ms(500));
    cluster.assert_converged();
    assert_eq!(stats(&cluster, 1).counters.entries_resent, 0);
}

#[test]
fn a_lost_acknowledgement_of_more_than_a_word_costs_nothing() {
    let mut cluster = met(2, 5000, CLEAR);
    for round in 0..6 {
        (0..5000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
        cluster.run(ms(CLEAR.delay_ms));
        // The first word of it is lost, with the flush that said it.
        cluster.silent = (round % 2 == 0).then_some(2);
        cluster.run(FLUSH);
        cluster.silent = None;
        cluster.run(FLUSH);
    }
    cluster.run(ms(500));
    cluster.assert_converged();
    assert_eq!(stats(&cluster, 1).counters.entries_resent, 0);
}

#[test]
fn a_flush_of_a_new_boot_is_acknowledged_whole() {
    let mut cluster = met(2, 5000, CLEAR);
    // The boot before has sent more datagrams than the new one will.
    cluster.run(ms(10_000));
    cluster.restart(1, 55);
    while stats(&cluster, 2).counters.boots < 2 {
        cluster.run(ms(1));
    }
    (0..5000).for_each(|line| cluster.nodes[0].1.charge(line, 2));
    cluster.run(ms(500));
    cluster.assert_converged();
    assert_eq!(stats(&cluster, 1).counters.entries_resent, 0);
}

#[test]
fn a_sync_is_told_of_when_all_of_it_has_arrived() {
    let lossy = Weather { lost: 30, jitter_ms: 30, ..CLEAR };
    for seed in 1..20 {
        let mut cluster = Cluster::new(2, 3000, CLEAR, seed);
        (0..3000).for_each(|line| cluster.nodes[0].1.charge(line, 1));
        cluster.run(ms(500));
        cluster.weather = lossy;
        cluster.restart(2, 77);
        while !cluster.nodes[1].1.synced.contains(&1) {
            cluster.run(ms(1));
        }
        assert_eq!(cluster.nodes[1].1.heard.len(), 3000, "seed {seed}");
    }
}

#[test]
fn what_is_damaged_or_cut_on_the_way_is_sent_again() {
    let damage = Weather { damaged: 40, truncated: 20, ..CLEAR };
    let mut cluster = met(2, 200, damage);
    (0..200).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.run(ms(4000));
    cluster.assert_converged();
    let told = stats(&cluster, 2);
    let rejected: u64 = told.rejected.iter().map(|(_, count)| count).sum();
    assert!(rejected > 20 && stats(&cluster, 1).counters.entries_resent > 0, "{told:?}");
}

#[test]
fn a_peer_of_another_version_is_refused_in_words_and_counted() {
    let mut cluster = met(2, 10, CLEAR);
    let mut datagram = cluster.recorded(1, 2);
    datagram[0] = VERSION + 1;
    let Handled::Rejected(refused) = cluster.hand(2, &datagram) else { panic!("it was heard") };
    assert!(refused.to_string().contains("version 2"), "{refused}");
    assert_eq!(cluster.nodes[1].0.rejected().count(Rejected::Version { theirs: 2 }), 1);
}

#[test]
fn a_version_is_told_before_anything_else_of_a_datagram_is_looked_at() {
    // What a later version may be like after the first eight bytes is its own affair.
    let mut cluster = met(2, 10, CLEAR);
    let datagram = cluster.recorded(1, 2);
    let next = [&[VERSION + 1, 200, 201, 7], &datagram[4..8]].concat();
    assert_eq!(cluster.hand(2, &next), Handled::Rejected(Rejected::Version { theirs: VERSION + 1 }));
}

#[test]
fn a_round_trip_that_suddenly_takes_much_longer_ends_no_acknowledgement() {
    let near = Weather { delay_ms: 0, ..CLEAR };
    let mut cluster = met(2, 100, near);
    cluster.weather.delay_ms = 150;
    (0..100).for_each(|line| cluster.nodes[0].1.charge(line, 1));
    cluster.run(ms(5000));
    let told = stats(&cluster, 1);
    assert_eq!((told.pending, told.in_flight), (0, 0), "{told:?}");
    assert!(told.rtt.unwrap() > ms(250), "{told:?}");
}

#[test]
fn what_a_restarted_node_says_is_not_taken_for_heard_by_acknowledgements_of_its_earlier_boot() {
    let mut cluster = met(2, 100, CLEAR);
    let to_the_earlier_boot: Vec<_> = cluster.recorded.drain(..).map(|sent| sent.bytes).collect();
    cluster.restart(1, 55);
    cluster.run(ms(500));
    cluster.nodes[1].1.charged.clear();
    (0..100).for_each(|line| cluster.nodes[0].1.charge(line, 2));
    // Until node 2 hears again, all of it is on its way; it acknowledged such numbers before.
    cluster.silent = Some(1);
    cluster.run(FLUSH * 2);
    for bytes in &to_the_earlier_boot {
        assert!(matches!(cluster.hand(1, bytes), Handled::Rejected(_)));
    }
    cluster.silent = None;
    cluster.run(ms(2000));
    cluster.assert_converged();
}
