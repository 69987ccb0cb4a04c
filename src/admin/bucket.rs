//! All that is known of one bucket, as it travels and as people read it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketReport {
    /// The policy's name.
    pub policy: String,
    /// The key; bytes that are no text are replaced.
    pub key: String,
    /// Where this server is.
    pub region: String,
    /// `enforce`, `shadow`, `allow_all` or `deny_all`.
    pub mode: String,
    /// The limit of this key in words.
    pub limit: String,
    /// Tokens in a full bucket.
    pub burst: u64,
    /// Whether there is a bucket; one that is full and forgotten is not.
    pub exists: bool,
    /// Tokens that can be spent now.
    pub available: f64,
    /// Tokens used that have not drained; above the burst in debt.
    pub level: f64,
    /// Tokens admitted here since the bucket was made.
    pub used_here: u64,
    /// Of the level: charged for peers that could not be heard.
    pub phantom: f64,
    /// The counters that are known, this node's first.
    pub counters: Vec<Counter>,
    /// Where each peer stands.
    pub peers: Vec<PeerState>,
}

/// All that one node ever admitted of the bucket, from an epoch of its own: the same everywhere, once told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The node.
    pub node: u8,
    /// Its counter.
    pub count: u64,
}

/// What a peer has heard of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// The peer.
    pub node: u8,
    /// Whether it is heard.
    pub present: bool,
    /// Whether all it has was heard since this node started.
    pub synced: bool,
    /// Whether it is still to be told of this bucket, or has not acknowledged.
    pub pending: bool,
    /// Age of the oldest change, of any bucket, that it has not acknowledged.
    pub lag_ms: u64,
}

/// What filling a bucket did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResetReport {
    /// The policy's name.
    pub policy: String,
    /// The key; bytes that are no text are replaced.
    pub key: String,
    /// Where this server is.
    pub region: String,
    /// Whether there was a bucket; one that is full and forgotten is not.
    pub existed: bool,
    /// Tokens that had been used and had not drained, which can be spent again.
    pub given_back: f64,
    /// Whether there are other nodes. Each has a level of its own, which stays as it is, and what it admits
    /// from now on is charged here as before.
    pub peers_keep_theirs: bool,
}

impl fmt::Display for ResetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.existed {
            true => writeln!(
                f,
                "{} {:?} is full again: {:.2} tokens given back",
                self.policy, self.key, self.given_back
            )?,
            false => writeln!(
                f,
                "{} {:?} has no bucket here: nothing was used, or it is full",
                self.policy, self.key
            )?,
        }
        if self.peers_keep_theirs {
            writeln!(
                f,
                "in {} only: every other node keeps its own level; ask each of them too",
                self.region
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for BucketReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy   {} ({}, {})", self.policy, self.limit, self.mode)?;
        writeln!(f, "key      {}", self.key)?;
        writeln!(f, "region   {}", self.region)?;
        writeln!(
            f,
            "tokens   {:.2} of {} available, {:.2} used and not drained",
            self.available, self.burst, self.level
        )?;
        match self.exists {
            true => writeln!(f, "here     {} admitted since the bucket was made", self.used_here)?,
            false => writeln!(f, "here     no bucket: nothing was used, or it is full again")?,
        }
        if self.phantom > 0.0 {
            writeln!(f, "phantom  {:.2} charged for peers that cannot be heard", self.phantom)?;
        }
        for (position, counter) in self.counters.iter().enumerate() {
            let own = if position == 0 { " (this node)" } else { "" };
            writeln!(f, "counter  node {}: {}{own}", counter.node, counter.count)?;
        }
        self.peers.iter().try_for_each(|peer| writeln!(f, "peer     {peer}"))
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let presence = match (self.present, self.synced) {
            (false, _) => "cannot be heard",
            (true, false) => "is heard, and still sends what it has",
            (true, true) => "is heard",
        };
        write!(f, "{} {presence}; ", self.node)?;
        match self.pending {
            true => write!(f, "is still to be told, its oldest change waits for {} ms", self.lag_ms),
            false => write!(f, "knows all of this bucket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_level_counters_and_what_is_pending() {
        let report = BucketReport {
            policy: "api".to_owned(),
            key: "alice".to_owned(),
            region: "eu".to_owned(),
            mode: "enforce".to_owned(),
            limit: "100/s".to_owned(),
            burst: 200,
            exists: true,
            available: 150.0,
            level: 50.0,
            used_here: 30,
            phantom: 2.5,
            counters: vec![Counter { node: 1, count: 30 }, Counter { node: 2, count: 20 }],
            peers: vec![PeerState { node: 2, present: true, synced: true, pending: true, lag_ms: 7 }],
        };
        let text = report.to_string();
        for words in [
            "150.00 of 200 available",
            "2.50 charged for peers",
            "node 1: 30 (this node)",
            "node 2: 20\n",
            "2 is heard; is still to be told, its oldest change waits for 7 ms",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<BucketReport>(&json).unwrap(), report);
    }
}
