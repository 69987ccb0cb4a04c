//! A store that looks over the replica's shoulder: whatever is heard, it knows from a model of its own
//! what is to become of counter and level, and fails when that is not so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use openclaw_rating::bucket::hash::BucketId;
use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::bucket::table::Change;
use openclaw_rating::bucket::table::{BucketTable, View};
use openclaw_rating::replica::{Ahead, Applied, Arrival, Delivery, Entry, NodeId, Replica, Store, Telling};
use openclaw_rating::time::MonotonicNs;

/// What hearing an entry did, for the books of the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) from: NodeId,
    pub(crate) entry: Entry,
    pub(crate) applied: Applied,
    /// Tokens that were not charged, for they had been while the sender was absent and have drained at both.
    pub(crate) drained: f64,
    /// Tokens beyond the debt there can be.
    pub(crate) forgotten: u64,
}

#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) replica: Replica,
    table: Arc<BucketTable>,
    pub(crate) policies: Arc<PolicySet>,
    detect: Duration,
    is_strict: bool,
    /// The highest count of each node and bucket.
    highest: HashMap<(NodeId, BucketId), u64>,
    /// The highest count of each node before its present boot.
    before_boot: HashMap<NodeId, u64>,
    absent: HashMap<NodeId, MonotonicNs>,
    returned: HashMap<NodeId, MonotonicNs>,
    synced: Vec<NodeId>,
    pub(crate) log: Vec<Heard>,
}

impl Witness {
    pub(crate) fn new(
        replica: Replica,
        table: Arc<BucketTable>,
        policies: Arc<PolicySet>,
        detect: Duration,
        is_strict: bool,
    ) -> Self {
        Self {
            replica,
            table,
            policies,
            detect,
            is_strict,
            highest: HashMap::new(),
            before_boot: HashMap::new(),
            absent: HashMap::new(),
            returned: HashMap::new(),
            synced: vec![],
            log: vec![],
        }
    }

    pub(crate) fn set_policies(&mut self, policies: Arc<PolicySet>) {
        self.table.publish_limits(&policies);
        self.replica.set_policies(Arc::clone(&policies));
        self.policies = policies;
    }

    pub(crate) fn view(&self, id: BucketId) -> Option<View> {
        self.table.view(self.replica.line(id)? as usize)
    }

    /// The level in 1/65536 of a token.
    fn level(&self, id: BucketId, now: MonotonicNs) -> u64 {
        self.view(id).map_or(0, |view| {
            let clock = self.policies.slot(view.slot).unwrap().clock();
            clock.to_fixed(view.tat.saturating_sub(clock.at(now)))
        })
    }

    fn is_returning(&self, peer: NodeId, now: MonotonicNs) -> bool {
        self.absent.contains_key(&peer)
            || self.returned.get(&peer).is_some_and(|since| now < since.after(self.detect))
    }

    /// Growth is charged exactly once: what is charged is what the model says, and the level has it.
    fn check(&self, heard: &Heard, arrival: Arrival, [before, after, covered]: [u64; 3], now: MonotonicNs) {
        let Heard { from, entry, applied, .. } = *heard;
        assert!(!self.is_strict || after == before, "what others use moves no level of a strict policy");
        let highest = self.highest.get(&(from, entry.id)).copied();
        let expected = match highest {
            None => None,
            Some(highest) if entry.count <= highest => Some(0),
            Some(highest) => Some(entry.count - highest.max(entry.count - entry.used)),
        };
        let growth = match applied {
            Applied::Charged(growth) => growth,
            Applied::Known => 0,
            Applied::Adopted => return assert!(after >= before, "a level taken over lowers none"),
            Applied::FirstContact(_) => return assert_eq!(expected, None, "{heard:?}"),
            Applied::UnknownPolicy | Applied::UnknownNode | Applied::TableFull => return,
        };
        assert_eq!(Some(growth), expected, "{heard:?} after {highest:?} at {now:?}");
        if self.is_strict {
            return;
        }
        let least = (before + (growth << 16) - covered).saturating_sub(heard.forgotten << 16);
        assert!(after + (2 << 16) > least, "{heard:?}: {before} {after}, {covered} covered");
        let plain = arrival == Arrival::Delta && self.synced.contains(&from);
        let exact = plain && self.absent.is_empty() && heard.forgotten == 0;
        assert!(!exact || after <= least + (1 << 16), "{heard:?}: {before} {after}, {covered} covered");
    }

    /// A boot that begins to count below what an earlier one said is heard as if there had been none.
    fn forget_lost_epoch(&mut self, from: NodeId, entry: &Entry) {
        let before = self.before_boot.get(&from).copied().unwrap_or(0);
        if entry.count - entry.used < before {
            self.before_boot.remove(&from);
            self.highest.retain(|(node, _), _| *node != from);
        }
    }

    /// Merges an entry and checks what became of it.
    fn apply(&mut self, delivery: Delivery, entry: &Entry, line: Option<usize>) {
        let Delivery { from, arrival, now } = delivery;
        let stats = self.replica.stats();
        let phantom =
            self.view(entry.id).map_or([0; 2], |view| [view.phantom.standing(), view.phantom.drained()]);
        let before = self.level(entry.id, now);
        let applied = self.replica.apply(delivery, entry, line);
        let after = self.level(entry.id, now);
        let is_taken = !matches!(applied, Applied::UnknownPolicy | Applied::UnknownNode | Applied::TableFull);
        if is_taken {
            self.forget_lost_epoch(from, entry);
        }
        let growth = if let Applied::Charged(growth) = applied { growth } else { 0 };
        let returns = self.is_returning(from, now);
        let [drained, standing] = if returns { covered(phantom, before, growth, entry) } else { [0; 2] };
        let forgotten = self.replica.stats().forgotten_tokens - stats.forgotten_tokens;
        let heard = Heard { from, entry: *entry, applied, drained: drained as f64 / 65536.0, forgotten };
        self.check(&heard, arrival, [before, after, drained + standing], now);
        if is_taken {
            let highest = self.highest.entry((from, entry.id)).or_default();
            *highest = entry.count.max(*highest);
        }
        self.log.push(heard);
    }
}

/// What of a growth had been charged: a phantom that has drained here covers what has drained there, and one
/// that is in the level here covers all.
fn covered([standing, drained]: [u64; 2], level: u64, growth: u64, entry: &Entry) -> [u64; 2] {
    let growth = growth << 16;
    let drained = drained + standing.saturating_sub(level);
    let by_drained = drained.min(growth.saturating_sub(entry.level));
    [by_drained, standing.min(level).min(growth - by_drained)]
}

impl Store for Witness {
    fn lines(&self) -> u32 {
        self.replica.lines()
    }

    fn drain_changed(&mut self, now: MonotonicNs, changed: &mut dyn FnMut(&[Change])) {
        self.replica.drain_changed(now, changed);
    }

    fn tell(&mut self, lines: &[u32], telling: Telling, now: MonotonicNs, said: &mut Vec<(u32, Entry)>) {
        self.replica.tell(lines, telling, now, said);
    }

    fn urgencies(&self, lines: &[u32], now: MonotonicNs, each: &mut dyn FnMut(u8)) {
        self.replica.urgencies(lines, now, each);
    }

    fn hear(&mut self, from: NodeId, entries: &[Entry], arrival: Arrival, now: MonotonicNs) {
        let delivery = Delivery { from, arrival, now };
        let mut ahead = Ahead::new(&self.replica, from, entries);
        while let Some((entry, line)) = ahead.next(&self.replica) {
            self.apply(delivery, entry, Some(line));
        }
    }

    fn peer_started(&mut self, peer: NodeId) {
        let said = self.highest.iter().filter(|((node, _), _)| *node == peer).map(|(_, count)| *count);
        self.before_boot.insert(peer, said.max().unwrap_or(0));
        self.replica.peer_started(peer);
    }

    fn peer_present(&mut self, peer: NodeId, present: bool, now: MonotonicNs) {
        if present {
            self.absent.remove(&peer);
            self.returned.insert(peer, now);
        } else {
            self.absent.insert(peer, now);
        }
        self.replica.peer_present(peer, present, now);
    }

    fn peer_synced(&mut self, peer: NodeId, now: MonotonicNs) {
        self.synced.push(peer);
        self.replica.peer_synced(peer, now);
    }
}
