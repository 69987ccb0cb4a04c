//! What the log says of datagrams that were refused. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use crate::link::Rejected;
use crate::replica::NodeId;
use crate::time::MonotonicNs;

/// Between two lines about one reason: who can reach the port must not fill the disk with log lines.
const EVERY: Duration = Duration::from_secs(60);

/// What the log was told, and when.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Vec<(&'static str, MonotonicNs)>,
    duplicates: u64,
}

impl Refusals {
    /// What to tell of a datagram that `from` sent; `None` when it is no news.
    pub(super) fn news(&mut self, rejected: Rejected, from: SocketAddr, now: MonotonicNs) -> Option<String> {
        if rejected.is_usual() {
            return None;
        }
        self.is_due(rejected.reason(), now).then(|| format!("a datagram from {from} is refused: {rejected}"))
    }

    /// What to tell when `duplicates` signs of two nodes with one id have been seen, the last in a datagram from
    /// `from`.
    pub(super) fn duplicate_news(
        &mut self,
        duplicates: u64,
        from: SocketAddr,
        now: MonotonicNs,
    ) -> Option<String> {
        let before = std::mem::replace(&mut self.duplicates, duplicates);
        let is_news = duplicates > before && self.is_due("duplicate_node", now);
        is_news.then(|| {
            format!("{from} sends under the id of another node that runs; give one of them another [node] id")
        })
    }

    /// What to tell when a peer has started and counts from below what it told before.
    pub(super) fn lost_epoch_news(&mut self, peer: NodeId, now: MonotonicNs) -> Option<String> {
        self.is_due("lost_epoch", now).then(|| {
            format!(
                "peer {peer} has started and counts from below what it told before: its state directory is \
                 lost, cannot be written, or is an old copy; what it told before is forgotten here, and what \
                 it tells now is charged"
            )
        })
    }

    fn is_due(&mut self, reason: &'static str, now: MonotonicNs) -> bool {
        match self.told.iter_mut().find(|(told, _)| *told == reason) {
            Some((_, at)) if now < at.after(EVERY) => return false,
            Some((_, at)) => *at = now,
            None => self.told.push((reason, now)),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once_a_minute_and_what_is_usual_never() {
        let from = SocketAddr::from(([192, 0, 2, 1], 7946));
        let at = |seconds: u64| MonotonicNs(seconds * 1_000_000_000);
        let mut refusals = Refusals::default();
        let words = refusals.news(Rejected::Version { theirs: 2 }, from, at(5)).unwrap();
        assert!(words.contains("192.0.2.1:7946") && words.contains("version 2"), "{words}");
        assert_eq!(refusals.news(Rejected::Version { theirs: 3 }, from, at(64)), None);
        assert!(refusals.news(Rejected::Cluster, from, at(64)).is_some());
        assert!(refusals.news(Rejected::Version { theirs: 3 }, from, at(65)).is_some());
        assert_eq!(refusals.news(Rejected::Replayed, from, at(65)), None);
        assert_eq!(refusals.news(Rejected::Unconfirmed, from, at(65)), None);
    }

    #[test]
    fn a_peer_that_lost_its_epoch_is_told_of_by_its_number_and_once_a_minute() {
        let at = |seconds: u64| MonotonicNs(seconds * 1_000_000_000);
        let (mut refusals, peer) = (Refusals::default(), NodeId::new(7).unwrap());
        assert!(refusals.lost_epoch_news(peer, at(1)).unwrap().starts_with("peer 7 "));
        assert_eq!(refusals.lost_epoch_news(peer, at(60)), None);
        assert!(refusals.lost_epoch_news(peer, at(61)).is_some());
    }

    #[test]
    fn two_nodes_of_one_id_are_told_of_when_there_is_another_sign_of_them() {
        let from = SocketAddr::from(([192, 0, 2, 1], 7946));
        let at = |seconds: u64| MonotonicNs(seconds * 1_000_000_000);
        let mut refusals = Refusals::default();
        assert_eq!(refusals.duplicate_news(0, from, at(1)), None);
        assert!(refusals.duplicate_news(1, from, at(2)).unwrap().contains("192.0.2.1:7946"));
        assert_eq!(refusals.duplicate_news(2, from, at(3)), None, "a minute has not passed");
        assert_eq!(refusals.duplicate_news(2, from, at(63)), None, "no other sign");
        assert!(refusals.duplicate_news(3, from, at(64)).is_some());
    }
}
