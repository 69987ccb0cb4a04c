//! What only the thread that speaks with the peers knows of a bucket.

use std::time::Duration;

use crossbeam::channel::Sender;

use crate::bucket::hash::BucketId;
use crate::replica::NodeId;

/// Questions that wait to be asked; people ask them one by one.
pub const MAX_QUESTIONS: usize = 16;

/// A question about one bucket, or about the peers alone.
#[derive(Debug)]
pub struct TellRequest {
    /// The bucket.
    pub id: Option<BucketId>,
    /// Who wants to know, and may have stopped waiting.
    pub reply: Sender<Told>,
}

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The counters heard of peers.
    pub heard: Vec<(NodeId, u64)>,
    /// The peers.
    pub peers: Vec<ToldPeer>,
}

/// Where a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToldPeer {
    /// The peer.
    pub node: NodeId,
    /// It is heard.
    pub present: bool,
    /// All it has was heard since this node started.
    pub synced: bool,
    /// It is still to be told of this bucket, or has not acknowledged.
    pub pending: bool,
    /// Age of the oldest change that it has not acknowledged, of any bucket.
    pub lag: Duration,
}
