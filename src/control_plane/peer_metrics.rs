//! The replication link as metrics. Pure.

use std::collections::BTreeMap;

use crate::link::{ConvergenceLag, PeerStats, Rejections};
use crate::metrics::Family;
use crate::replica::{NodeId, ReplicaStats};

type Value = fn(&PeerStats) -> f64;

const GAUGES: [(&str, &str, Value); 8] = [
    ("openclaw_peer_deaf", "1 while the peer is heard and says that it does not hear this node.", |p| {
        f64::from(u8::from(p.present && p.deaf))
    }),
    ("openclaw_peer_synced", "1 once its full sync has arrived.", |p| f64::from(u8::from(p.synced))),
    ("openclaw_peer_phi", "How suspicious its silence is: phi, without a unit, 0 to 100.", |p| p.phi),
    ("openclaw_peer_rtt_seconds", "Smoothed round-trip time, in seconds.", |p| {
        p.rtt.unwrap_or_default().as_secs_f64()
    }),
    (
        "openclaw_peer_lag_seconds",
        "Age of the oldest change that it has not acknowledged, in seconds.",
        |p| p.lag.as_secs_f64(),
    ),
    ("openclaw_peer_pending_buckets", "Buckets that it is still to be told of.", |p| f64::from(p.pending)),
    ("openclaw_peer_in_flight_buckets", "Buckets told and not acknowledged.", |p| f64::from(p.in_flight)),
    ("openclaw_peer_boots", "Starts of it that this node has seen.", |p| p.counters.boots as f64),
];

const COUNTERS: [(&str, &str, Value); 11] = [
    ("openclaw_peer_absent_seconds_total", "Seconds in which it could not be heard.", |p| {
        p.absent.as_secs_f64()
    }),
    ("openclaw_peer_sent_datagrams_total", "Datagrams sent to it.", |p| p.counters.datagrams_sent as f64),
    ("openclaw_peer_received_datagrams_total", "Datagrams of it that were accepted.", |p| {
        p.counters.datagrams_received as f64
    }),
    ("openclaw_peer_sent_bytes_total", "Bytes sent to it.", |p| p.counters.bytes_sent as f64),
    ("openclaw_peer_received_bytes_total", "Bytes of it that were accepted.", |p| {
        p.counters.bytes_received as f64
    }),
    ("openclaw_peer_sent_buckets_total", "Buckets told to it.", |p| p.counters.entries_sent as f64),
    ("openclaw_peer_received_buckets_total", "Buckets it told of.", |p| p.counters.entries_received as f64),
    ("openclaw_peer_lost_datagrams_total", "Datagrams it never acknowledged.", |p| {
        p.counters.datagrams_lost as f64
    }),
    ("openclaw_peer_resent_buckets_total", "Buckets of lost datagrams.", |p| {
        p.counters.entries_resent as f64
    }),
    (
        "openclaw_peer_elsewhere_datagrams_total",
        "Datagrams of it that came from another address than the configured one, where answers go.",
        |p| p.counters.from_elsewhere as f64,
    ),
    ("openclaw_peer_duplicate_node_total", "Signs of a second node with its id.", |p| {
        p.counters.duplicate_node as f64
    }),
];

/// The regions of the peers that have one by the configuration.
pub(super) type Regions = BTreeMap<NodeId, String>;

pub(super) fn families(
    peers: &[PeerStats],
    regions: &Regions,
    strangers: &Rejections,
    replica: &ReplicaStats,
    unsent: u64,
) -> Vec<Family> {
    let gauges = GAUGES.iter().map(|(name, help, value)| each(Family::gauge(name, help), peers, *value));
    let counters =
        COUNTERS.iter().map(|(name, help, value)| each(Family::counter(name, help), peers, *value));
    let mut families = vec![presence(peers.iter().map(|peer| (peer.node, peer.present)), regions)];
    families.extend(gauges.chain(counters));
    families.push(rejections(peers, strangers));
    families.push(convergence(peers));
    families.extend(merges(replica));
    let help = "Datagrams that the kernel did not take.";
    families.push(Family::counter("openclaw_unsent_datagrams_total", help).with(&[], unsent as f64));
    families
}

/// With the peer's region: an alert that a region is down covers those of servers elsewhere that miss its nodes.
fn presence(peers: impl Iterator<Item = (NodeId, bool)>, regions: &Regions) -> Family {
    let mut family = Family::gauge("openclaw_peer_present", "1 while the peer is heard.");
    for (node, present) in peers {
        let name = node.to_string();
        let region = regions.get(&node).map(|region| ("peer_region", region.as_str()));
        let labels: Vec<_> = [("peer", name.as_str())].into_iter().chain(region).collect();
        family.add(&labels, f64::from(u8::from(present)));
    }
    family
}

fn each(mut family: Family, peers: &[PeerStats], value: Value) -> Family {
    for peer in peers {
        family.add(&[("peer", &peer.node.to_string())], value(peer));
    }
    family
}

/// Those that name no peer, or not credibly, are under `peer="none"`.
fn rejections(peers: &[PeerStats], strangers: &Rejections) -> Family {
    let help = "Datagrams that moved no bucket, by reason.";
    let mut family = Family::counter("openclaw_peer_rejected_datagrams_total", help);
    let named = peers.iter().map(|peer| (peer.node.to_string(), &peer.rejected));
    for (peer, rejections) in named.chain([("none".to_owned(), strangers)]) {
        for (reason, count) in rejections.iter() {
            family.add(&[("peer", &peer), ("reason", reason)], count as f64);
        }
    }
    family
}

fn convergence(peers: &[PeerStats]) -> Family {
    let help = "Seconds that changes took to reach the peer.";
    let mut family = Family::histogram("openclaw_peer_convergence_seconds", help);
    let bounds = ConvergenceLag::BOUNDS_MS.map(|ms| ms as f64 / 1e3);
    for peer in peers {
        let mut total = 0;
        let cumulative = peer.convergence.counts().map(|count| {
            total += count;
            total
        });
        let sum = peer.convergence.sum().as_secs_f64();
        family.add_buckets(&[("peer", &peer.node.to_string())], &bounds, &cumulative, total, sum);
    }
    family
}

fn merges(replica: &ReplicaStats) -> [Family; 4] {
    let tokens =
        Family::counter("openclaw_remote_tokens_total", "Tokens that peers admitted, by what they did here.")
            .with(&[("effect", "charged")], replica.charged_tokens as f64)
            .with(&[("effect", "covered")], replica.covered_tokens as f64)
            .with(&[("effect", "forgotten")], replica.forgotten_tokens as f64);
    let buckets =
        Family::counter("openclaw_remote_buckets_total", "Buckets of peers, by what was new of them.")
            .with(&[("effect", "first_contact")], replica.first_contacts as f64)
            .with(&[("effect", "adopted")], replica.adopted as f64);
    let refused =
        Family::counter("openclaw_remote_refused_total", "Buckets of peers that were not taken, by reason.")
            .with(&[("reason", "unknown_policy")], replica.unknown_policies as f64)
            .with(&[("reason", "unknown_node")], replica.unknown_nodes as f64)
            .with(&[("reason", "table_full")], replica.table_full as f64);
    let help = "Starts of peers that counted from below what they had told before.";
    let epochs =
        Family::counter("openclaw_remote_epochs_lost_total", help).with(&[], replica.epochs_lost as f64);
    [tokens, buckets, refused, epochs]
}
