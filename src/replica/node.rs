//! The buckets of this node as its peers see them, and what they do to them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::ahead::{AHEAD, Ahead, asked_ahead, coming};
use super::directory::Directory;
use super::hear::Sender;
use super::presence::Presence;
use super::shares::Observed;
use super::{
    Applied, Arrival, Delivery, Entry, MAX_ENTRIES_HEARD, MAX_NODES, NodeId, Occasion, Store, Telling,
};
use crate::bucket::gcra::{self, TokenClock};
use crate::bucket::hash::BucketId;
use crate::bucket::notes::LineNotes;
use crate::bucket::policy::PolicySet;
use crate::bucket::table::{BucketTable, Change, View};
use crate::time::MonotonicNs;

/// Consumption is summed up this often.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);

/// Who this node is, and who its peers are.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This node.
    pub node: NodeId,
    /// The others, at most 15.
    pub peers: Vec<NodeId>,
    /// A peer silent for so long is absent. Bounds what is admitted before a cut is noticed, and with
    /// it the debt that growth can lead to: for each peer a burst and what arrives in this time.
    pub detect_timeout: Duration,
}

/// Why a cluster cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// More nodes than lines can note.
    #[error("{0} nodes in the cluster, but at most 16 are supported")]
    TooManyNodes(usize),
    /// Two nodes of one number.
    #[error("two nodes of the cluster have the id {0}")]
    Duplicate(NodeId),
    /// Lines are numbered by 32 bits.
    #[error("a table of {0} lines is too large to be replicated: the most is 4294967296")]
    TooManyLines(usize),
    /// The kernel refused.
    #[error(
        "cannot map {bytes} bytes for counters of peers: {kind}; lower [table] capacity or raise the memory \
         limit"
    )]
    NoMemory {
        /// What was asked for.
        bytes: usize,
        /// The kernel's answer.
        kind: io::ErrorKind,
    },
}

/// Sums since the start, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Tokens of peers charged here.
    pub charged_tokens: u64,
    /// Tokens of peers that had been charged before they came, while their node could not be heard.
    pub covered_tokens: u64,
    /// Tokens beyond the debt a bucket can have; they are forgotten.
    pub forgotten_tokens: u64,
    /// Buckets of peers heard of for the first time.
    pub first_contacts: u64,
    /// Entries whose level was taken over.
    pub adopted: u64,
    /// Entries of policies that this node does not have.
    pub unknown_policies: u64,
    /// Entries of nodes that are no peers.
    pub unknown_nodes: u64,
    /// Entries for which there was no room.
    pub table_full: u64,
    /// Boots of peers that count from below what earlier ones said.
    pub epochs_lost: u64,
}

impl ReplicaStats {
    fn charged(&mut self, tokens: u64) {
        self.charged_tokens = self.charged_tokens.saturating_add(tokens);
    }
}

/// What one node heard of another.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    /// The highest count heard, by line; it is of the line's owner if the line has noted the peer. Zero is none.
    ///
    /// Apart from the lines: a check never reads them, and they cost 8 bytes a peer a line.
    pub(super) heard: LineNotes,
    /// The highest count heard of any bucket, and what that was when the peer's present boot began.
    highest: u64,
    highest_before: u64,
}

impl Peer {
    fn new(id: NodeId, lines: usize) -> Result<Self, ReplicaError> {
        Ok(Self { id, heard: line_notes(lines)?, highest: 0, highest_before: 0 })
    }

    /// Takes note of a count, and tells whether it shows that the peer has lost its epoch: this boot began to count
    /// below what an earlier one said. All that was heard is forgotten then. It would hide what the peer admits from
    /// now on, until its counts are past it.
    pub(super) fn note(&mut self, entry: &Entry) -> bool {
        let has_lost_epoch = entry.count.saturating_sub(entry.used) < self.highest_before;
        if has_lost_epoch {
            (self.highest, self.highest_before) = (0, 0);
            self.heard.clear();
        }
        self.highest = self.highest.max(entry.count);
        has_lost_epoch
    }
}

/// What telling needs to know of the limits in a slot, at one moment.
pub(super) struct OfSlot {
    slot: u16,
    policy: u64,
    clock: TokenClock,
    now_ticks: u64,
}

impl OfSlot {
    /// What is said of a bucket in the slot; `None` when there is nothing to say.
    #[inline]
    pub(super) fn entry(&self, view: &View) -> Option<Entry> {
        let level = self.clock.to_fixed(gcra::level(view.tat, self.now_ticks));
        let used = view.count.saturating_sub(view.start);
        let entry = Entry { policy: self.policy, id: view.id, count: view.count, used, level };
        (used != 0 || level != 0).then_some(entry)
    }
}

/// A [`Store`] over the table that data threads charge.
///
/// There is one, on one thread: it alone merges and takes the notes of what changed.
#[derive(Debug)]
pub struct Replica {
    pub(super) table: Arc<BucketTable>,
    pub(super) directory: Directory,
    /// A peer's column is its position.
    pub(super) peers: Vec<Peer>,
    pub(super) presence: Presence,
    /// By the policies' positions for counters.
    pub(super) observed: Vec<Observed>,
    /// Tokens charged here by slot when they were last added to what is observed.
    charged: Vec<u64>,
    observed_at: MonotonicNs,
    pub(super) detect_timeout: Duration,
    pub(super) stats: ReplicaStats,
}

impl Replica {
    /// The replica of `table`, which must have been made [`replicated`](BucketTable::replicated).
    ///
    /// # Errors
    /// When there are too many nodes or lines, or two nodes of one id.
    pub fn new(
        config: &ReplicaConfig,
        table: Arc<BucketTable>,
        policies: Arc<PolicySet>,
        now: MonotonicNs,
    ) -> Result<Self, ReplicaError> {
        check(config, table.len_lines())?;
        let lines = table.len_lines();
        let peers = config.peers.iter().map(|id| Peer::new(*id, lines)).collect::<Result<_, _>>()?;
        let directory = Directory::new(policies);
        let observed = vec![Observed::default(); directory.positions()];
        let charged = vec![0; directory.slots().count()];
        Ok(Self {
            table,
            directory,
            peers,
            presence: Presence::new(config.peers.len(), config.detect_timeout, now),
            observed,
            charged,
            observed_at: now,
            detect_timeout: config.detect_timeout,
            stats: ReplicaStats::default(),
        })
    }

    /// Takes the policies of a reload. To be called after the table knows their limits and before any
    /// thread checks under them.
    pub fn set_policies(&mut self, policies: Arc<PolicySet>) {
        self.directory = Directory::new(policies);
        self.observed.resize_with(self.directory.positions().max(self.observed.len()), Observed::default);
        self.charged.resize(self.directory.slots().count(), 0);
        self.publish_absent();
    }

    /// Sums since the start.
    #[must_use]
    pub const fn stats(&self) -> ReplicaStats {
        self.stats
    }

    /// The counter of this node and those heard of its peers in a line, for people and tests.
    pub fn counters(&self, line: u32) -> (u64, Vec<(NodeId, u64)>) {
        let Some(view) = self.table.view(line as usize) else { return (0, vec![]) };
        let known = self.peers.iter().enumerate().filter(|(column, _)| view.known & (1 << column) != 0);
        let heard = known.map(|(_, peer)| (peer.id, peer.heard.get(line as usize)));
        (view.count, heard.filter(|(_, count)| *count > 0).collect())
    }

    /// Merges an entry, whose bucket may be in `line`.
    pub fn apply(&mut self, delivery: Delivery, entry: &Entry, line: Option<usize>) -> Applied {
        self.take(self.sender(delivery).as_ref(), entry, line)
    }

    /// Merges an entry of `sender`, and counts what became of it.
    fn take(&mut self, sender: Option<&Sender>, entry: &Entry, line: Option<usize>) -> Applied {
        let applied = sender.map_or(Applied::UnknownNode, |sender| self.merge(sender, entry, line));
        match applied {
            Applied::Charged(tokens) => self.stats.charged(tokens),
            Applied::FirstContact(tokens) => {
                self.stats.first_contacts += 1;
                self.stats.charged(tokens);
            }
            Applied::Adopted => self.stats.adopted += 1,
            Applied::UnknownPolicy => self.stats.unknown_policies += 1,
            Applied::UnknownNode => self.stats.unknown_nodes += 1,
            Applied::TableFull => self.stats.table_full += 1,
            Applied::Known => {}
        }
        applied
    }

    /// The line of a bucket.
    #[must_use]
    pub fn line(&self, id: BucketId) -> Option<u32> {
        self.table.line(id).map(|line| line as u32)
    }

    pub(super) fn column(&self, id: NodeId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == id)
    }

    /// What this node says of a line; `None` when there is nothing to say. `of_slot` is of the line before, and becomes
    /// of this one: most are in the same slot.
    #[inline]
    fn say(
        &mut self,
        line: usize,
        of_slot: &mut Option<OfSlot>,
        telling: Telling,
        now: MonotonicNs,
    ) -> Option<Entry> {
        let view = self.table.view(line)?;
        if of_slot.as_ref().is_none_or(|of_slot| of_slot.slot != view.slot) {
            *of_slot = self.of_slot(view.slot, now);
        }
        if of_slot.is_none() && telling.occasion == Occasion::Change {
            // Charged in limits of a reload that is still to come here: nothing can be said of it yet.
            self.table.change_again(line);
        }
        let entry = of_slot.as_ref().and_then(|of_slot| of_slot.entry(&view));
        if telling.to_joining { entry.map(|entry| self.without_excess(&view, entry)) } else { entry }
    }

    /// An entry whose level has nothing of what is about to be given back here. Who took that over would keep it,
    /// since nobody tells it when it is given back.
    fn without_excess(&self, view: &View, entry: Entry) -> Entry {
        let excess = if self.presence.gives_back() { view.phantom.standing() } else { 0 };
        Entry { level: entry.level.saturating_sub(excess), ..entry }
    }

    /// What is the same at `now` for all buckets in a slot; `None` when nothing is known of it yet.
    pub(super) fn of_slot(&self, slot: u16, now: MonotonicNs) -> Option<OfSlot> {
        let (policy, limits) = self.directory.identity_of_slot(slot)?;
        let clock = *limits.clock();
        Some(OfSlot { slot, policy, clock, now_ticks: clock.at(now) })
    }

    /// How close a bucket is to its limit, 255 the closest.
    pub(super) fn urgency(&self, line: u32, now: MonotonicNs) -> u8 {
        let Some(bucket) = self.table.glance(line as usize) else { return 0 };
        let Some((_, limits)) = self.directory.of_slot(bucket.slot) else { return 0 };
        let (level, burst) = (gcra::level(bucket.tat, limits.clock().at(now)), limits.burst_ticks());
        // So that the product fits into 64 bits: many lines are looked at.
        let excess = u8::BITS.saturating_sub(burst.leading_zeros());
        ((level.min(burst) >> excess) * u64::from(u8::MAX) / (burst >> excess)) as u8
    }

    /// Adds what this node used since the last call to what is observed of the policies.
    fn observe_own(&mut self) {
        let is_usual = !self.presence.is_disturbed();
        for ((slot, rules), before) in self.directory.slots().zip(&mut self.charged) {
            let charged = self.table.charged(slot);
            let used = charged.wrapping_sub(std::mem::replace(before, charged));
            if let (true, Some(rules)) = (is_usual, rules) {
                self.observed[rules.index].add(0, used);
            }
        }
    }

    fn observe_time(&mut self, now: MonotonicNs) {
        let elapsed_ns = now.since(self.observed_at);
        if u128::from(elapsed_ns) < OBSERVE_EVERY.as_nanos() {
            return;
        }
        self.observed_at = now;
        self.observe_own();
        if self.presence.is_disturbed() {
            return;
        }
        let rotate = self.presence.rotation_is_due(now);
        for observed in &mut self.observed {
            observed.decay(elapsed_ns as f64 / 1e9);
            if rotate {
                observed.rotate();
            }
        }
    }
}

pub(super) fn line_notes(lines: usize) -> Result<LineNotes, ReplicaError> {
    let bytes = lines.saturating_mul(LineNotes::BYTES_PER_LINE);
    LineNotes::new(lines).map_err(|error| ReplicaError::NoMemory { bytes, kind: error.kind() })
}

fn check(config: &ReplicaConfig, lines: usize) -> Result<(), ReplicaError> {
    if config.peers.len() >= MAX_NODES {
        return Err(ReplicaError::TooManyNodes(config.peers.len() + 1));
    }
    if lines > u32::MAX as usize {
        return Err(ReplicaError::TooManyLines(lines));
    }
    let mut seen = vec![config.node];
    for peer in &config.peers {
        if seen.contains(peer) {
            return Err(ReplicaError::Duplicate(*peer));
        }
        seen.push(*peer);
    }
    Ok(())
}

impl Store for Replica {
    fn lines(&self) -> u32 {
        self.table.len_lines() as u32
    }

    fn drain_changed(&mut self, now: MonotonicNs, changed: &mut dyn FnMut(&[Change])) {
        self.table.drain_changes(changed);
        self.observe_time(now);
        self.settle(now);
    }

    fn tell(&mut self, lines: &[u32], telling: Telling, now: MonotonicNs, said: &mut Vec<(u32, Entry)>) {
        let mut of_slot = None;
        for (place, line) in lines.iter().copied().enumerate() {
            let later = coming(lines, place, 2 * AHEAD).iter();
            later.for_each(|line| self.table.ask_once_for_line(*line as usize));
            if let Some(entry) = self.say(line as usize, &mut of_slot, telling, now) {
                said.push((line, entry));
            }
        }
    }

    fn urgencies(&self, lines: &[u32], now: MonotonicNs, each: &mut dyn FnMut(u8)) {
        let lines = asked_ahead(lines, |line| self.table.ask_for_line(line as usize));
        lines.for_each(|line| each(self.urgency(line, now)));
    }

    fn hear(&mut self, from: NodeId, entries: &[Entry], arrival: Arrival, now: MonotonicNs) {
        let sender = self.sender(Delivery { from, arrival, now });
        for entries in entries.chunks(MAX_ENTRIES_HEARD) {
            let mut ahead = Ahead::new(self, from, entries);
            while let Some((entry, line)) = ahead.next(self) {
                self.take(sender.as_ref(), entry, Some(line));
            }
        }
    }

    fn peer_started(&mut self, peer: NodeId) {
        if let Some(column) = self.column(peer) {
            self.peers[column].highest_before = self.peers[column].highest;
        }
    }

    fn peer_present(&mut self, peer: NodeId, present: bool, now: MonotonicNs) {
        if let Some(column) = self.column(peer) {
            self.presence.set(column, present, now);
            self.publish_absent();
        }
    }

    fn peer_synced(&mut self, peer: NodeId, _now: MonotonicNs) {
        if let Some(column) = self.column(peer) {
            self.presence.joined(column);
        }
    }
}
