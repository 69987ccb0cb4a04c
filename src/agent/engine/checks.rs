//! What a target must show before traffic goes there. Pure: takes what was seen and measured.

use std::time::Duration;

use crate::agent::signals::Sight;
use crate::metrics::{PeerVital, Vitals};

/// The bars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TargetBars {
    /// Mean percent of the watched buckets that must be left.
    pub min_tokens_percent: f64,
    /// Most that a peer which is heard may be behind.
    pub max_lag: Duration,
    /// Percent of the synthetic load that may fail.
    pub max_error_percent: f64,
    /// The slowest hundredth of the synthetic load.
    pub max_p99: Duration,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// The name of the check.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub is_good: bool,
    /// What was seen, for a person.
    pub detail: String,
}

/// All checks in words; `Err` with those that failed when any did.
pub(super) fn sum_up(checks: &[Check]) -> Result<String, String> {
    let lines = |wanted: bool| {
        let of = checks.iter().filter(move |check| check.is_good == wanted);
        of.map(|check| format!("{}: {}", check.name, check.detail)).collect::<Vec<_>>().join("; ")
    };
    if checks.iter().all(|check| check.is_good) { Ok(lines(true)) } else { Err(lines(false)) }
}

/// `/health` of the target: one node that answers 200 is enough.
#[must_use]
pub(super) fn check_health(sights: &[(String, Sight)]) -> Check {
    let good = sights.iter().filter(|(_, sight)| sight.is_good()).count();
    let seen: Vec<String> = sights.iter().map(|(url, sight)| format!("{url} {sight}")).collect();
    Check { name: "health", is_good: good > 0, detail: seen.join(", ") }
}

/// Tokens of the target's watched buckets, taken together.
#[must_use]
pub(super) fn check_tokens(vitals: &Vitals, bars: &TargetBars) -> Check {
    let name = "tokens";
    if vitals.watched.is_empty() {
        return Check { name, is_good: true, detail: "no bucket is watched, so none is short".to_owned() };
    }
    let sum: f64 = vitals.watched.iter().map(|watched| watched.share).sum();
    let percent = 100.0 * sum / vitals.watched.len() as f64;
    let least = bars.min_tokens_percent;
    let detail = format!("{percent:.0} % of watched buckets is left, at least {least:.0} % is asked for");
    Check { name, is_good: percent >= least, detail }
}

/// Whether the target knows what its peers admitted. A peer that is not heard is no failure: what it may still admit is
/// charged as its share.
#[must_use]
pub(super) fn check_replication(peers: &[PeerVital], bars: &TargetBars) -> Check {
    let name = "replication";
    if peers.is_empty() {
        return Check { name, is_good: true, detail: "this node has no peers".to_owned() };
    }
    let mut is_good = true;
    let mut seen = Vec::with_capacity(peers.len());
    for peer in peers {
        let node = peer.node;
        seen.push(match (peer.is_present, peer.is_synced) {
            (false, _) => format!("node {node} is not heard, its share is charged for it"),
            (true, false) => {
                is_good = false;
                format!("node {node} has not told all it knows yet")
            }
            (true, true) if peer.lag > bars.max_lag => {
                is_good = false;
                format!("node {node} is {:?} behind, at most {:?} is allowed", peer.lag, bars.max_lag)
            }
            (true, true) => format!("node {node} is {} ms behind", peer.lag.as_millis()),
        });
    }
    Check { name, is_good, detail: seen.join(", ") }
}

/// Whether a node of another region knows what this one admitted, and the other way round. A node that is not heard may
/// know nothing.
#[must_use]
pub(super) fn check_peers_of(node: u8, heard: &[PeerVital], bars: &TargetBars) -> Check {
    let present: Vec<PeerVital> =
        heard.iter().filter(|peer| peer.node == node && peer.is_present).cloned().collect();
    if present.is_empty() {
        let detail = format!("node {node} of it is not heard over the replication link");
        return Check { name: "replication", is_good: false, detail };
    }
    check_replication(&present, bars)
}

/// What the synthetic load came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LoadSeen {
    /// Requests that were answered by 200 or 429.
    pub good: u64,
    /// Requests that were not.
    pub bad: u64,
    /// The slowest hundredth.
    pub p99: Duration,
}

/// The synthetic load against its bars.
#[must_use]
pub(super) fn check_load(seen: &LoadSeen, bars: &TargetBars) -> [Check; 2] {
    let LoadSeen { good, bad, p99 } = *seen;
    let all = good + bad;
    let percent = if all == 0 { 100.0 } else { 100.0 * bad as f64 / all as f64 };
    let most = bars.max_error_percent;
    let errors = Check {
        name: "errors",
        is_good: good > 0 && percent <= most,
        detail: format!("{bad} of {all} requests failed ({percent:.1} %, at most {most:.1} %)"),
    };
    let slow = Check {
        name: "p99",
        is_good: p99 <= bars.max_p99,
        detail: format!("{:.1} ms, at most {:?}", p99.as_secs_f64() * 1e3, bars.max_p99),
    };
    [errors, slow]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::signals::{Answer, Timings};
    use crate::metrics::WatchedVital;

    const BARS: TargetBars = TargetBars {
        min_tokens_percent: 80.0,
        max_lag: Duration::from_secs(2),
        max_error_percent: 1.0,
        max_p99: Duration::from_millis(250),
    };

    fn sight(status: u16) -> (String, Sight) {
        let seen = Ok(Answer { status, body: String::new() });
        ("http://a".to_owned(), Sight { address: None, timings: Timings::default(), seen })
    }

    fn vitals(shares: &[f64]) -> Vitals {
        let watched = shares.iter().map(|share| WatchedVital { key: "k".to_owned(), share: *share });
        Vitals { watched: watched.collect(), ..Vitals::default() }
    }

    fn peer(is_present: bool, is_synced: bool, lag_ms: u64) -> PeerVital {
        PeerVital { node: 2, is_present, is_synced, phi: 0.0, lag: Duration::from_millis(lag_ms) }
    }

    #[test]
    fn each_bar_is_kept_or_not() {
        let table = [
            (check_health(&[sight(503), sight(200)]), true),
            (check_health(&[sight(503), sight(302)]), false),
            (check_health(&[]), false),
            (check_tokens(&vitals(&[0.8]), &BARS), true),
            (check_tokens(&vitals(&[0.79]), &BARS), false),
            (check_tokens(&vitals(&[1.0, 0.6]), &BARS), true),
            (check_tokens(&vitals(&[]), &BARS), true),
            (check_replication(&[], &BARS), true),
            (check_replication(&[peer(true, true, 2000)], &BARS), true),
            (check_replication(&[peer(true, true, 2001)], &BARS), false),
            (check_replication(&[peer(true, false, 0)], &BARS), false),
            (check_replication(&[peer(false, false, 90_000)], &BARS), true),
        ];
        for (check, is_good) in table {
            assert_eq!(check.is_good, is_good, "{check:?}");
        }
    }

    #[test]
    fn a_load_without_answers_passes_no_bar() {
        let p99 = Duration::from_millis(1);
        let good = |good, bad, p99| {
            check_load(&LoadSeen { good, bad, p99 }, &BARS).iter().all(|check| check.is_good)
        };
        assert!(good(99, 1, p99));
        assert!(!good(98, 2, p99) && !good(0, 0, p99) && !good(100, 0, Duration::from_millis(251)));
    }

    #[test]
    fn what_fails_is_said_and_nothing_else() {
        let checks = [check_health(&[sight(200)]), check_tokens(&vitals(&[0.5]), &BARS)];
        let why = sum_up(&checks).unwrap_err();
        assert!(why.contains("50 %") && !why.contains("health"), "{why}");
        assert!(sum_up(&checks[..1]).unwrap().contains("200"));
    }
}
