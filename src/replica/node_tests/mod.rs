//! Promises of a replica, over real tables, with time and entries passed by hand.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::node::line_notes;
use super::*;
use crate::bucket::gcra::Rate;
use crate::bucket::hash::KeyHasher;
use crate::bucket::notes::LineNotes;
use crate::bucket::policy::{LimitSpec, Matcher, OverrideSpec, Policy, PolicySet, PolicySpec};
use crate::bucket::sharing::{Consistency, Partition, Share, Sharing};
use crate::bucket::table::{BYTES_PER_LINE, BucketTable, OnTableFull, TableConfig};

mod phantom;
mod plain;
mod telling;

const SECOND: u64 = 1_000_000_000;
const DETECT: Duration = Duration::from_millis(500);
const EPOCH_MS: u64 = 1_000;
const RATE: u64 = 100;
const BURST: u64 = 100;

fn spec(name: &str, sharing: Sharing) -> PolicySpec {
    let limit = LimitSpec { rate: Rate::new(RATE, SECOND).unwrap(), burst: BURST };
    let vip = OverrideSpec {
        matcher: Matcher::Exact(b"vip".to_vec()),
        limit: LimitSpec { rate: Rate::new(RATE * 1_000, SECOND).unwrap(), burst: BURST * 10 },
    };
    PolicySpec { overrides: vec![vip], sharing, ..PolicySpec::new(name, limit) }
}

struct Node {
    replica: Replica,
    table: Arc<BucketTable>,
    policies: Arc<PolicySet>,
    now: MonotonicNs,
}

/// To a peer that has heard all there is.
const fn telling(occasion: Occasion) -> Telling {
    Telling { occasion, to_joining: false }
}

fn node_id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

impl Node {
    /// Node `number` of three, started and synced.
    fn new(number: u8, sharing: Sharing) -> Self {
        let mut node = Self::joining(number, sharing, 64);
        let peers = [1, 2, 3].map(node_id).into_iter().filter(|peer| peer.get() != number);
        peers.for_each(|peer| node.replica.peer_synced(peer, node.now));
        node
    }

    fn joining(number: u8, sharing: Sharing, lines: usize) -> Self {
        Self::joining_at(number, sharing, lines, EPOCH_MS)
    }

    fn joining_at(number: u8, sharing: Sharing, lines: usize, epoch_ms: u64) -> Self {
        let now = MonotonicNs(0);
        let policies =
            Arc::new(PolicySet::new(&[spec("p", sharing)], &KeyHasher::new([1; 16]), now).unwrap());
        let table = BucketTable::new(TableConfig { lines, on_full: OnTableFull::Deny }).unwrap();
        let table = Arc::new(table.replicated(epoch_ms));
        table.publish_limits(&policies);
        let peers = [1, 2, 3].map(node_id).into_iter().filter(|peer| peer.get() != number).collect();
        let config = ReplicaConfig { node: node_id(number), peers, detect_timeout: DETECT };
        let replica = Replica::new(&config, Arc::clone(&table), Arc::clone(&policies), now).unwrap();
        Self { replica, table, policies, now }
    }

    fn policy(&self) -> &Policy {
        self.policies.find(b"p").unwrap()
    }

    fn id(&self, key: &[u8]) -> BucketId {
        self.policies.bucket_id(self.policy(), key)
    }

    fn charge(&self, key: &[u8], cost: u64) -> bool {
        let limits = self.policy().limits_for(key);
        self.table.charge(self.id(key), limits, cost, self.now).allowed
    }

    /// Charges one token after another until one is denied.
    fn drain(&self, key: &[u8]) -> u64 {
        (0..10_000).take_while(|_| self.charge(key, 1)).count() as u64
    }

    /// The level in whole tokens.
    fn level(&self, key: &[u8]) -> u64 {
        let limits = self.policy().limits_for(key);
        limits.clock().tokens(self.table.level(self.id(key), limits, self.now).unwrap_or(0))
    }

    fn entry(&self, key: &[u8]) -> Entry {
        let line = self.replica.line(self.id(key)).unwrap();
        let view = self.table.view(line as usize).unwrap();
        self.replica.of_slot(view.slot, self.now).unwrap().entry(&view).unwrap()
    }

    /// What a peer says of a key of which it used so many tokens and has so many in its level.
    fn said_by_a_peer(&self, key: &[u8], used: u64, level: u64) -> Entry {
        let (policy, id) = (self.policy().identity(), self.id(key));
        Entry { policy, id, count: EPOCH_MS << 20, used, level: level << 16 }
    }

    fn delivery(&self, from: u8, arrival: Arrival) -> Delivery {
        Delivery { from: node_id(from), arrival, now: self.now }
    }

    fn hear(&mut self, from: u8, entry: &Entry) -> Applied {
        self.replica.apply(self.delivery(from, Arrival::Delta), entry, None)
    }

    fn sync(&mut self, from: u8, entry: &Entry) -> Applied {
        self.replica.apply(self.delivery(from, Arrival::Sync), entry, None)
    }

    fn pass(&mut self, time_ms: u64) {
        self.now = MonotonicNs(self.now.0 + time_ms * 1_000_000);
        let changed = self.changed();
        self.tell(&changed);
    }

    fn changed(&mut self) -> Vec<u32> {
        let mut lines = vec![];
        self.replica.drain_changed(self.now, &mut |some| lines.extend(some.iter().map(|change| change.line)));
        lines
    }

    /// What is said of lines that changed.
    fn tell(&mut self, lines: &[u32]) -> Vec<Entry> {
        let mut said = vec![];
        self.replica.tell(lines, telling(Occasion::Change), self.now, &mut said);
        said.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// Two of the three nodes have heard each other for this bucket.
fn acquainted(sharing: Sharing) -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1, sharing), Node::new(2, sharing));
    assert!(a.charge(b"k", 1) && b.charge(b"k", 1));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::FirstContact(1));
    assert_eq!(b.hear(1, &a.entry(b"k")), Applied::FirstContact(1));
    (a, b)
}

const EVENTUAL: Sharing =
    Sharing { partition: Partition::Share, share: Share::Equal, consistency: Consistency::Eventual };

#[test]
fn growth_is_charged_and_nothing_is_charged_twice() {
    let (mut a, b) = acquainted(EVENTUAL);
    assert!(b.charge(b"k", 30));
    let said = b.entry(b"k");
    assert_eq!(a.hear(2, &said), Applied::Charged(30));
    assert_eq!(a.hear(2, &said), Applied::Known);
    assert_eq!(a.level(b"k"), 32);
    assert_eq!(a.replica.stats().charged_tokens, 31);
}

#[test]
fn where_a_bucket_was_seen_is_a_hint_and_no_more() {
    let mut a = Node::joining(1, EVENTUAL, 1 << 17);
    [2, 3].iter().for_each(|peer| a.replica.peer_synced(node_id(*peer), a.now));
    let b = Node::joining(2, EVENTUAL, 1 << 17);
    let keys: Vec<[u8; 2]> = (0..100_u16).map(u16::to_le_bytes).collect();
    for round in 1..=3 {
        keys.iter().for_each(|key| assert!(b.charge(key, 1)));
        let said: Vec<Entry> = keys.iter().map(|key| b.entry(key)).collect();
        let mut lines = vec![];
        for said in said.chunks(MAX_ENTRIES_HEARD) {
            let mut ahead = Ahead::new(&a.replica, node_id(2), said);
            lines.extend(std::iter::from_fn(|| ahead.next(&a.replica)).map(|(_, line)| line));
        }
        assert_eq!(lines.len(), said.len());
        let right =
            said.iter().zip(&lines).filter(|(said, line)| a.replica.line(said.id) == Some(**line as u32));
        assert!(round == 1 || right.count() > 90, "tags name the line");
        lines.rotate_left(round * 7);
        for (entry, line) in said.iter().zip(lines) {
            let applied = a.replica.apply(a.delivery(2, Arrival::Delta), entry, Some(line));
            assert_ne!(applied, Applied::Known);
        }
    }
    assert!(keys.iter().all(|key| a.level(key) == 3));
}

#[test]
fn a_bucket_never_heard_of_is_charged_what_has_not_drained() {
    let (mut a, mut b) = (Node::new(1, EVENTUAL), Node::new(2, EVENTUAL));
    assert!(b.charge(b"k", 60));
    b.pass(500);
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::FirstContact(10));
    assert_eq!(a.level(b"k"), 10);
    // What others used of a bucket is theirs to tell.
    assert!(b.charge(b"l", 5));
    a.hear(2, &b.entry(b"l"));
    assert!(a.charge(b"l", 1));
    let mut c = Node::new(3, EVENTUAL);
    assert_eq!(c.hear(1, &a.entry(b"l")), Applied::FirstContact(1));
}

#[test]
fn growth_leads_into_a_debt_and_no_deeper_than_bound() {
    let (mut a, b) = acquainted(EVENTUAL);
    assert_eq!(a.drain(b"k"), BURST - 2);
    let mut said = b.entry(b"k");
    (said.count, said.used) = (said.count + 50, said.used + 50);
    a.hear(2, &said);
    assert_eq!(a.level(b"k"), BURST + 50);
    (said.count, said.used) = (said.count + 1_000_000, said.used + 1_000_000);
    assert_eq!(a.hear(2, &said), Applied::Charged(1_000_000));
    // A burst, and for each of two peers a burst and what arrives until its absence is noticed.
    assert_eq!(a.level(b"k"), BURST + 2 * (BURST + RATE / 2));
    assert!(a.replica.stats().forgotten_tokens > 999_000);
}

#[test]
fn counts_at_the_end_of_their_range_do_no_harm() {
    let (mut a, b) = acquainted(EVENTUAL);
    let said = Entry { count: u64::MAX, used: u64::MAX, level: u64::MAX, ..b.entry(b"k") };
    assert!(matches!(a.hear(2, &said), Applied::Charged(_)));
    assert!(matches!(a.hear(3, &said), Applied::FirstContact(_)));
    assert!(a.level(b"k") <= BURST + 2 * (BURST + RATE / 2));
    a.sync(3, &said);
    assert!(!a.charge(b"k", 1));
}

#[test]
fn a_restart_does_not_refill() {
    let (mut a, b) = acquainted(EVENTUAL);
    b.drain(b"k");
    a.hear(2, &b.entry(b"k"));
    // Node 2 starts again with nothing; a delta may come before the sync.
    let mut b = Node::joining_at(2, EVENTUAL, 64, EPOCH_MS + 1);
    assert!(b.charge(b"k", 3));
    assert_eq!(b.hear(1, &a.entry(b"k")), Applied::FirstContact(1));
    assert_eq!(b.level(b"k"), BURST + 3, "the level of node 1, and what it has not heard");
    assert_eq!(b.sync(1, &a.entry(b"k")), Applied::Known);
    assert_eq!(b.level(b"k"), BURST + 3);
    b.replica.peer_synced(node_id(1), b.now);
    assert!(!b.charge(b"k", 1));
    // From then on growth is charged, and node 2 is heard as what it is, not as new.
    a.replica.peer_started(node_id(2));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(3));
    assert_eq!(a.replica.stats().epochs_lost, 0);
}

#[test]
fn a_peer_that_lost_its_epoch_is_heard_from_its_first_word_on() {
    let (mut a, b) = acquainted(EVENTUAL);
    let c = Node::joining_at(2, EVENTUAL, 64, EPOCH_MS - 500);
    assert!(b.charge(b"other", 5) && c.charge(b"k", 10) && c.charge(b"other", 7));
    assert_eq!(a.hear(2, &b.entry(b"other")), Applied::FirstContact(5));
    a.replica.peer_started(node_id(2));
    assert_eq!(a.hear(2, &c.entry(b"k")), Applied::FirstContact(10));
    assert_eq!(a.level(b"k"), 12);
    let line = a.replica.line(a.id(b"other")).unwrap();
    assert_eq!(a.replica.counters(line).1, [], "what the former boot said hides nothing");
    // Forgotten once: what the boot itself said counts from then on.
    assert!(c.charge(b"k", 4));
    assert_eq!(a.hear(2, &c.entry(b"k")), Applied::Charged(4));
    assert_eq!(a.hear(2, &c.entry(b"other")), Applied::FirstContact(7));
    assert_eq!(a.hear(2, &c.entry(b"k")), Applied::Known);
    assert_eq!(a.replica.stats().epochs_lost, 1);
    // It starts once more and has its epoch: counts above all that it ever said are growth.
    let d = Node::joining_at(2, EVENTUAL, 64, EPOCH_MS - 400);
    assert!(d.charge(b"k", 1));
    a.replica.peer_started(node_id(2));
    assert_eq!(a.hear(2, &d.entry(b"k")), Applied::Charged(1));
}

#[test]
fn a_sync_does_not_lose_what_grew_meanwhile() {
    let (mut a, b) = acquainted(EVENTUAL);
    assert!(b.charge(b"k", 10));
    assert_eq!(a.sync(2, &b.entry(b"k")), Applied::Charged(10));
    assert_eq!(a.level(b"k"), 12);
}

#[test]
fn a_node_that_started_again_counts_on_from_above_all_it_said() {
    let old = Node::new(1, EVENTUAL);
    assert!(old.charge(b"k", BURST));
    let said = old.entry(b"k").count;
    let mut new = Node::joining(1, EVENTUAL, 64);
    new.pass(1);
    assert!(new.charge(b"k", 1) && new.entry(b"k").count > said);
}

#[test]
fn policies_and_nodes_that_are_not_known_are_counted_and_move_nothing() {
    let (mut a, b) = acquainted(EVENTUAL);
    let said = Entry { policy: 7, id: BucketId::from_u128(7), ..b.entry(b"k") };
    assert_eq!(a.hear(2, &said), Applied::UnknownPolicy);
    assert_eq!(a.hear(9, &b.entry(b"k")), Applied::UnknownNode);
    assert_eq!((a.replica.stats().unknown_policies, a.replica.stats().unknown_nodes), (1, 1));
    assert_eq!(a.replica.line(said.id), None);
}

#[test]
fn a_peer_with_other_limits_is_charged_by_the_name_of_the_policy() {
    let (mut a, b) = acquainted(EVENTUAL);
    let mut other = spec("p", EVENTUAL);
    other.limit = LimitSpec { rate: Rate::new(1, SECOND).unwrap(), burst: 7 };
    let next = Arc::new(a.policies.reload(&[other], a.now).unwrap());
    a.table.publish_limits(&next);
    a.replica.set_policies(Arc::clone(&next));
    a.policies = next;
    assert!(b.charge(b"k", 5));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(5));
    assert_eq!(a.level(b"k"), 7);
}

#[test]
fn a_key_with_other_limits_keeps_the_tokens_charged_before_it_was_known_as_such() {
    let (mut a, b) = (Node::new(1, EVENTUAL), Node::new(2, EVENTUAL));
    assert!(b.charge(b"vip", 90));
    a.hear(2, &b.entry(b"vip"));
    assert_eq!(a.level(b"vip"), 90);
    assert!(a.charge(b"vip", 500));
    assert!(b.charge(b"vip", 20));
    assert_eq!(a.hear(2, &b.entry(b"vip")), Applied::Charged(20));
    assert_eq!(a.level(b"vip"), 610);
}

#[test]
fn a_bucket_that_gave_way_takes_what_was_heard_of_it_along() {
    let mut a = Node::joining(1, EVENTUAL, 16);
    let keys: Vec<[u8; 2]> = (0..200_u16).map(u16::to_le_bytes).collect();
    let mut b = Node::joining(2, EVENTUAL, 1024);
    [2, 3].iter().for_each(|peer| a.replica.peer_synced(node_id(*peer), a.now));
    for (step, key) in keys.iter().enumerate() {
        assert!(b.charge(key, 10));
        let heard = a.hear(2, &b.entry(key));
        assert_eq!(heard, Applied::FirstContact(10), "key {step}: a line's counter is of one bucket");
        a.pass(200);
        b.pass(200);
    }
    assert!(a.table.stats().evictions > 0);
}

#[test]
fn a_bucket_without_room_is_a_first_contact_once_there_is_room() {
    let mut a = Node::joining(1, EVENTUAL, 16);
    a.replica.peer_synced(node_id(2), a.now);
    let b = Node::joining(2, EVENTUAL, 1024);
    let keys: Vec<[u8; 2]> = (0..200_u16).map(u16::to_le_bytes).collect();
    let refused = keys.iter().find(|key| {
        assert!(b.charge(*key, 50));
        let entry = b.entry(*key);
        a.hear(2, &entry) == Applied::TableFull
    });
    let entry = b.entry(refused.unwrap());
    assert_eq!(a.replica.stats().table_full, 1);
    a.pass(1000);
    assert_eq!(a.hear(2, &entry), Applied::FirstContact(50));
}

#[test]
fn a_strict_policy_is_not_charged_for_others_and_still_heard() {
    let strict = Sharing { consistency: Consistency::Strict, ..EVENTUAL };
    let (mut a, b) = (Node::new(1, strict), Node::new(2, strict));
    assert!(a.charge(b"k", 1) && b.charge(b"k", 50));
    a.hear(2, &b.entry(b"k"));
    assert!(b.charge(b"k", 1));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(1));
    assert_eq!(a.level(b"k"), 1);
    a.replica.peer_present(node_id(2), false, a.now);
    assert!(a.charge(b"k", 1));
    assert_eq!(a.level(b"k"), 2);
}

#[test]
fn parts_of_a_strict_policy_sum_up_to_the_limit_at_most() {
    let mut strict = spec("p", Sharing { consistency: Consistency::Strict, ..EVENTUAL });
    let part = strict.part_of(3).unwrap();
    assert_eq!(part.limit.burst, 33);
    assert_eq!(part.limit.rate, Rate::new(RATE, 3 * SECOND).unwrap());
    assert_eq!(part.overrides[0].limit.burst, 333);
    strict.limit.burst = 2;
    assert!(strict.part_of(3).is_err() && strict.part_of(2).is_ok());
    strict.limit = LimitSpec { rate: Rate::new(1, Rate::DAY_NS).unwrap(), burst: 10 };
    assert!(strict.part_of(2).unwrap_err().to_string().contains("\"p\" is strict"));
    assert_eq!(spec("p", EVENTUAL).part_of(3).unwrap(), spec("p", EVENTUAL));
}

#[test]
fn a_side_cut_off_keeps_to_its_share_and_then_repays_nothing() {
    let (mut a, mut b) = acquainted(EVENTUAL);
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), false, a.now));
    [1, 3].iter().for_each(|peer| b.replica.peer_present(node_id(*peer), false, b.now));
    let mut admitted = [0, 0];
    for _ in 0..1000 {
        a.pass(10);
        b.pass(10);
        admitted = [admitted[0] + a.drain(b"k"), admitted[1] + b.drain(b"k")];
    }
    // Ten seconds: a third each, and once of the burst.
    let third = (1000 + BURST) / 3;
    assert!(admitted.iter().all(|part| part.abs_diff(third) < 40), "{admitted:?}");
    for (node, peer) in [(&mut a, 2), (&mut b, 1)] {
        node.replica.peer_present(node_id(peer), true, node.now);
    }
    let (level, covered) = (a.level(b"k"), a.replica.stats().covered_tokens);
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(admitted[1]));
    assert_eq!(a.level(b"k"), level);
    assert_eq!(a.replica.stats().covered_tokens - covered, admitted[1]);
}

#[test]
fn what_was_charged_too_much_for_a_silent_peer_is_given_back() {
    let (mut a, b) = acquainted(EVENTUAL);
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), false, a.now));
    assert!(a.charge(b"k", 30));
    assert_eq!(a.level(b"k"), 2 + 30 + 60);
    assert!(b.charge(b"k", 20));
    [2, 3].iter().for_each(|peer| a.replica.peer_present(node_id(*peer), true, a.now));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(20));
    assert_eq!(a.level(b"k"), 2 + 30 + 60);
    a.pass(500);
    assert_eq!(a.level(b"k"), (2 + 30 + 60 - 50_u64) - 40);
    a.pass(500);
    assert!(a.charge(b"k", BURST), "nothing is left of it");
}

#[test]
fn what_the_bound_on_debt_cut_off_is_not_given_back() {
    let (mut a, b) = acquainted(EVENTUAL);
    a.replica.peer_present(node_id(3), false, a.now);
    let said = b.entry(b"k");
    a.hear(2, &Entry { count: said.count + 5000, used: said.used + 5000, ..said });
    let deepest = BURST + 2 * (BURST + RATE / 2);
    assert_eq!(a.level(b"k"), deepest);
    a.replica.peer_present(node_id(3), true, a.now);
    a.pass(500);
    a.pass(0);
    assert_eq!(a.level(b"k"), deepest - RATE / 2);
}

#[test]
fn a_sync_that_does_not_come_is_not_waited_for_for_ever() {
    let mut a = Node::joining(1, EVENTUAL, 64);
    let said = a.said_by_a_peer(b"k", 50, 20);
    assert_eq!(a.hear(2, &said), Applied::Adopted);
    a.pass(10_000);
    assert_eq!(a.hear(3, &said), Applied::FirstContact(20));
}

#[test]
fn a_policy_without_shares_goes_on_with_the_whole_limit() {
    let (mut a, _) = acquainted(Sharing { partition: Partition::Full, ..EVENTUAL });
    a.replica.peer_present(node_id(2), false, a.now);
    assert_eq!(a.drain(b"k"), BURST - 2);
}

#[test]
fn growth_of_those_who_are_heard_is_charged_for_those_who_are_not_too() {
    let (mut a, b) = acquainted(EVENTUAL);
    a.replica.peer_present(node_id(3), false, a.now);
    assert!(b.charge(b"k", 20));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(20));
    assert_eq!(a.level(b"k"), 2 + 30);
}

#[test]
fn shares_are_those_before_the_silence_began() {
    let observed = Sharing { share: Share::Observed, ..EVENTUAL };
    let (mut a, b) = acquainted(observed);
    // Node 2 uses nine tokens for each of node 1, then falls silent for as long as it takes to notice.
    for _ in 0..500 {
        a.pass(100);
        assert!(
            a.charge(b"k", 1) && b.table.charge(b.id(b"k"), b.policy().default_limits(), 9, a.now).allowed
        );
        assert!(matches!(a.hear(2, &b.entry(b"k")), Applied::Charged(9)));
    }
    for _ in 0..5 {
        a.pass(100);
        assert!(a.charge(b"k", 1));
    }
    a.replica.peer_present(node_id(2), false, a.now);
    assert!(a.charge(b"k", 10));
    let own = 0.1 / 3.0 + 0.9 * 0.1;
    let peer = 0.1 / 3.0 + 0.9 * 0.9;
    let expected = 10.0 * (1.0 + peer / (own + 0.1 / 3.0));
    let level = a.level(b"k") as f64;
    assert!((level - expected).abs() <= 2.0, "{level} for {expected}");
}

#[test]
fn a_cluster_that_cannot_be_is_refused() {
    let a = Node::new(1, EVENTUAL);
    let replica = |peers: Vec<NodeId>| {
        let config = ReplicaConfig { node: node_id(1), peers, detect_timeout: DETECT };
        Replica::new(&config, Arc::clone(&a.table), Arc::clone(&a.policies), a.now).map(|_| ())
    };
    assert_eq!(replica((2..=16).map(node_id).collect()), Ok(()));
    assert_eq!(replica((2..=17).map(node_id).collect()), Err(ReplicaError::TooManyNodes(17)));
    assert_eq!(replica(vec![node_id(1)]), Err(ReplicaError::Duplicate(node_id(1))));
}

#[test]
fn a_key_of_an_override_is_heard_in_its_own_limits() {
    let (mut a, b) = (Node::new(1, EVENTUAL), Node::new(2, EVENTUAL));
    assert_eq!(b.drain(b"vip"), BURST * 10);
    a.hear(2, &b.entry(b"vip"));
    assert_eq!((a.level(b"vip"), a.drain(b"vip")), (BURST * 10, 0));
    assert!(b.charge(b"k", 1) && a.replica.directory.find(b.entry(b"k").policy).is_some());
    // An override that this node does not have is charged by the name of its policy.
    let said = Entry { policy: b.entry(b"vip").policy ^ 1, id: a.id(b"other"), ..b.entry(b"k") };
    assert!(matches!(a.hear(2, &said), Applied::FirstContact(_)));
    assert_eq!(a.level(b"other"), 1);
}

#[test]
fn what_was_charged_for_a_peer_never_heard_is_set_against_the_first_that_is() {
    let (mut a, b) = (Node::new(1, EVENTUAL), Node::new(2, EVENTUAL));
    a.replica.peer_present(node_id(2), false, a.now);
    assert!(a.charge(b"k", 10) && b.charge(b"k", 10));
    let level = a.level(b"k");
    assert!(level > 10, "a share of node 2 is in it");
    a.replica.peer_present(node_id(2), true, a.now);
    assert!(matches!(a.hear(2, &b.entry(b"k")), Applied::FirstContact(_)));
    assert_eq!(a.level(b"k"), 20, "its ten once");
    a.pass(1000);
    a.pass(1);
    assert_eq!(a.level(b"k"), 0, "nothing is given back that was used");
}

#[test]
fn counters_for_which_there_is_no_memory_are_an_error_that_says_so() {
    let error = line_notes(1 << 58).err().map(|error| error.to_string());
    assert!(error.is_some_and(|error| error.contains("lower [table] capacity")));
}

/// A line of the table with its tag and a peer's counter, at three quarters of the lines; what is to be told takes five
/// bits more.
#[test]
fn a_key_costs_at_most_a_hundred_bytes_with_one_peers_counter() {
    let line = BYTES_PER_LINE + LineNotes::BYTES_PER_LINE;
    assert!(line as f64 / 0.75 <= 100.0, "{line} bytes a line");
}

proptest! {
    #[test]
    fn replicas_that_heard_the_same_agree_whatever_the_order(
        costs in prop::collection::vec(1_u64..4, 1..20),
        orders in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..40), 2),
    ) {
        let mut b = Node::new(2, EVENTUAL);
        let mut said = vec![];
        for cost in &costs {
            prop_assert!(b.charge(b"k", *cost));
            said.push(b.entry(b"k"));
        }
        b.pass(0);
        let mut levels = vec![];
        for (number, order) in [1, 3].into_iter().zip(&orders) {
            let mut node = Node::new(number, EVENTUAL);
            // The first contact is the same for both; from there on any order, any number of times.
            node.hear(2, &said[0]);
            for index in order {
                node.hear(2, index.get(&said));
            }
            node.hear(2, &said[said.len() - 1]);
            let line = node.replica.line(node.id(b"k")).unwrap();
            let (_, heard) = node.replica.counters(line);
            prop_assert_eq!(heard, vec![(node_id(2), said[said.len() - 1].count)]);
            levels.push(node.level(b"k"));
        }
        prop_assert_eq!(levels, vec![costs.iter().sum::<u64>(); 2]);
    }
}

#[test]
fn a_level_forgotten_on_one_node_leaves_counters_and_other_nodes_as_they_are() {
    let (mut a, mut b) = acquainted(EVENTUAL);
    assert!(a.charge(b"k", 40));
    b.hear(1, &a.entry(b"k"));
    let before = a.entry(b"k");
    assert!(a.table.forget_level(a.id(b"k")));
    assert_eq!((a.level(b"k"), a.entry(b"k").count), (0, before.count));
    assert_eq!(b.hear(1, &a.entry(b"k")), Applied::Known);
    assert_eq!(b.level(b"k"), 42, "a reset reaches into another node");
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Known);
    assert_eq!(a.level(b"k"), 0, "what was heard before is charged again");
    assert!(a.charge(b"k", 7) && b.charge(b"k", 5));
    assert_eq!(b.hear(1, &a.entry(b"k")), Applied::Charged(7));
    assert_eq!(a.hear(2, &b.entry(b"k")), Applied::Charged(5));
    assert_eq!((a.level(b"k"), b.level(b"k")), (12, 54));
}

#[test]
fn what_was_charged_for_an_absent_peer_is_not_given_back_to_a_level_that_was_forgotten() {
    let (mut a, _) = acquainted(EVENTUAL);
    a.replica.peer_present(node_id(2), false, a.now);
    assert!(a.charge(b"k", 20) && a.level(b"k") > 22);
    assert!(a.table.forget_level(a.id(b"k")));
    a.replica.peer_present(node_id(2), true, a.now);
    assert!(a.charge(b"k", BURST));
    a.pass(600);
    assert_eq!(a.level(b"k"), BURST - 60);
}
