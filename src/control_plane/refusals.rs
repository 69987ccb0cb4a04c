//! What the log says of datagrams that were refused. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use crate::link::Rejected;
use crate::time::MonotonicNs;

/// Between two lines about one reason: who can reach the port must not fill the disk with log lines.
const EVERY: Duration = Duration::from_secs(60);

/// When each reason was last told.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    told: Vec<(&'static str, MonotonicNs)>,
}

impl Refusals {
    /// What to tell of a datagram that `from` sent; `None` when it is no news.
    pub(super) fn news(&mut self, rejected: Rejected, from: SocketAddr, now: MonotonicNs) -> Option<String> {
        if rejected.is_usual() {
            return None;
        }
        let reason = rejected.reason();
        match self.told.iter_mut().find(|(told, _)| *told == reason) {
            Some((_, at)) if now < at.after(EVERY) => return None,
            Some((_, at)) => *at = now,
            None => self.told.push((reason, now)),
        }
        Some(format!("a datagram from {from} is refused: {rejected}"))
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
}
