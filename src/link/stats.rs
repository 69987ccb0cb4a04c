//! What a link tells of itself.

use std::net::SocketAddr;
use std::time::Duration;

use super::seal::{MAX_DATAGRAM_BYTES, VERSION};
use crate::replica::NodeId;

/// Why a datagram moved nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Shorter than any datagram.
    #[error("its {bytes} bytes are too few for a datagram")]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// Longer than any datagram.
    #[error("its {bytes} bytes are more than the {MAX_DATAGRAM_BYTES} of a datagram")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Of a cluster with another secret, or none of a link.
    #[error("it is of another cluster: the secrets differ")]
    Cluster,
    /// Of a program that speaks another version.
    #[error("it has version {theirs} of the link's format, and this node speaks version {VERSION}")]
    Version {
        /// The version it names.
        theirs: u8,
    },
    /// Sent to another node.
    #[error("it is for node {to}")]
    NotForThisNode {
        /// The node it names.
        to: u8,
    },
    /// From a node that is no peer of this one.
    #[error("it names node {from} as its sender, which is no peer of this node")]
    UnknownNode {
        /// The node it names.
        from: u8,
    },
    /// Forged, or damaged on the way.
    #[error("it does not open: it is forged or damaged")]
    Unopened,
    /// Heard before, or too old to tell.
    #[error("it was heard before")]
    Replayed,
    /// Opened, and not of this version's form.
    #[error("it opens, and what it says is malformed")]
    Malformed,
    /// Of a boot of the peer that has not shown yet that it is the one that runs now, or said to an earlier
    /// boot of this node.
    #[error("its sender has not shown that it knows this boot of the node")]
    Unconfirmed,
}

impl Rejected {
    /// The names of the reasons, as metrics say them.
    pub const REASONS: [&'static str; 10] = [
        "too_short",
        "too_long",
        "cluster",
        "version",
        "not_for_this_node",
        "unknown_node",
        "unopened",
        "replayed",
        "malformed",
        "unconfirmed",
    ];

    const fn index(self) -> usize {
        match self {
            Self::TooShort { .. } => 0,
            Self::TooLong { .. } => 1,
            Self::Cluster => 2,
            Self::Version { .. } => 3,
            Self::NotForThisNode { .. } => 4,
            Self::UnknownNode { .. } => 5,
            Self::Unopened => 6,
            Self::Replayed => 7,
            Self::Malformed => 8,
            Self::Unconfirmed => 9,
        }
    }

    /// Whether a network that repeats datagrams, or a node that starts, is enough to bring it about.
    #[must_use]
    pub const fn is_usual(self) -> bool {
        matches!(self, Self::Replayed | Self::Unconfirmed)
    }

    /// The reason's name.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        Self::REASONS[self.index()]
    }
}

/// How many datagrams were rejected, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    counts: [u64; Rejected::REASONS.len()],
}

impl Rejections {
    pub(super) fn add(&mut self, rejected: Rejected) {
        self.counts[rejected.index()] += 1;
    }

    /// Reasons and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Rejected::REASONS.into_iter().zip(self.counts)
    }

    /// How many for that reason.
    #[must_use]
    pub const fn count(&self, rejected: Rejected) -> u64 {
        self.counts[rejected.index()]
    }
}

/// How long changes took to reach a peer: from the drain before the change to the time when, by the
/// smoothed round trip, the datagram that was acknowledged had arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvergenceLag {
    counts: [u64; Self::BOUNDS_MS.len() + 1],
    sum_ns: u64,
}

impl ConvergenceLag {
    /// Upper bounds of the buckets; one more has all above.
    pub const BOUNDS_MS: [u64; 15] = [1, 2, 5, 10, 20, 25, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

    pub(super) fn add(&mut self, lag_ns: u64, changes: u64) {
        let bucket = Self::BOUNDS_MS.partition_point(|bound_ms| bound_ms * 1_000_000 < lag_ns);
        self.counts[bucket] += changes;
        self.sum_ns = self.sum_ns.saturating_add(lag_ns.saturating_mul(changes));
    }

    /// Changes by bucket, not added up.
    #[must_use]
    pub const fn counts(&self) -> &[u64; Self::BOUNDS_MS.len() + 1] {
        &self.counts
    }

    /// The sum of all lags.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }
}

/// How this node and a peer hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Each hears the other.
    Mutual,
    /// The peer is heard, and says that it does not hear this node.
    OneWay,
    /// The peer is not heard.
    Silent,
}

/// One peer, now and since the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerStats {
    /// The peer.
    pub node: NodeId,
    /// Where datagrams to it go.
    pub address: SocketAddr,
    /// It is not absent.
    pub present: bool,
    /// It says that it has not heard this node for too long. Limits are not shared with it meanwhile, as if it were
    /// absent.
    pub deaf: bool,
    /// It has shown that it runs, and is told of changes.
    pub connected: bool,
    /// The full sync that this node asked of it has arrived.
    pub synced: bool,
    /// How suspicious its silence is: 0 to 100, minus the decimal logarithm of the chance that it ends.
    pub phi: f64,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Age of the oldest change that it has not acknowledged, at most.
    pub lag: Duration,
    /// Lines that it is still to be told of.
    pub pending: u32,
    /// Lines told and not acknowledged.
    pub in_flight: u32,
    /// How long it was absent.
    pub absent: Duration,
    /// How long changes took to reach it.
    pub convergence: ConvergenceLag,
    /// What has been counted.
    pub counters: PeerCounters,
    /// Datagrams that name it and were rejected.
    pub rejected: Rejections,
}

/// Sums of one peer since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCounters {
    /// Datagrams sent to it.
    pub datagrams_sent: u64,
    /// Datagrams of it that were accepted.
    pub datagrams_received: u64,
    /// Bytes of datagrams sent.
    pub bytes_sent: u64,
    /// Bytes of datagrams accepted.
    pub bytes_received: u64,
    /// Entries sent.
    pub entries_sent: u64,
    /// Entries received.
    pub entries_received: u64,
    /// Datagrams that were never acknowledged.
    pub datagrams_lost: u64,
    /// Entries of lost datagrams, which are sent again.
    pub entries_resent: u64,
    /// Times it was accepted after a start of its own.
    pub boots: u64,
    /// Signs of a second node with its number: datagrams of another boot while the one that is known
    /// goes on, or a boot that came back.
    pub duplicate_node: u64,
    /// Datagrams accepted that came from another address than its own. Answers go to its own.
    pub from_elsewhere: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_and_a_count() {
        let mut rejections = Rejections::default();
        rejections.add(Rejected::Version { theirs: 9 });
        assert_eq!(rejections.count(Rejected::Version { theirs: 2 }), 1);
        assert_eq!(rejections.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("version", 1)]);
        assert_eq!(Rejected::Unconfirmed.reason(), "unconfirmed");
    }

    #[test]
    fn a_lag_on_a_bound_counts_below_it() {
        let mut lag = ConvergenceLag::default();
        lag.add(1_000_000, 2);
        lag.add(1_000_001, 1);
        lag.add(u64::MAX, 1);
        assert_eq!((lag.counts()[0], lag.counts()[1], lag.counts()[15]), (2, 1, 1));
    }
}
