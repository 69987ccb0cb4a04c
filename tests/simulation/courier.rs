//! A plain link between replicas, without seal or compact form: what changed is sent until it is
//! acknowledged, each flush is a heartbeat, and a node that starts asks for all there is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher as _;

use openclaw_rating::bucket::hash::BucketId;
use openclaw_rating::replica::{Arrival, Entry, NodeId, Store};
use openclaw_rating::time::MonotonicNs;

const FLUSH_NS: u64 = 20_000_000;
const RESEND_NS: u64 = 250_000_000;
/// An acknowledgement that is later than this is not understood.
const FORGET_NS: u64 = 2_000_000_000;
const ENTRIES: usize = 34;
const ENTRY_BYTES: usize = 48;
const HEADER_BYTES: usize = 8 * 5 + 2;

/// What is known of one other node.
#[derive(Debug)]
struct Peer {
    id: NodeId,
    pending: BTreeSet<u32>,
    in_flight: BTreeMap<u64, Sent>,
    to_acknowledge: VecDeque<u64>,
    heard_at: MonotonicNs,
    present: bool,
    /// Which life of the peer is answered, and the lines it has not got.
    asked: u64,
    unsynced: BTreeSet<u32>,
    /// This node has all that the peer had.
    synced: bool,
}

/// A datagram that is not acknowledged, with the lines in it and their counts.
#[derive(Debug)]
struct Sent {
    at: MonotonicNs,
    again: bool,
    lines: Vec<(u32, u64)>,
}

/// The link of one node in one life.
#[derive(Debug)]
pub(crate) struct Courier {
    id: NodeId,
    life: u64,
    peers: Vec<Peer>,
    sent: u64,
    flush_at: MonotonicNs,
    swept: u32,
    detect_ns: u64,
    outbox: VecDeque<(NodeId, Vec<u8>)>,
}

struct Header {
    from: u64,
    life: u64,
    number: u64,
    /// The life in which the sender asks for a sync; zero when it has all.
    asks: u64,
    /// The life of the receiver for which all has been sent and acknowledged.
    done: u64,
    sync: bool,
}

impl Courier {
    pub(crate) fn new(id: NodeId, peers: &[NodeId], life: u64, detect_ns: u64, now: MonotonicNs) -> Self {
        let peer = |id: &NodeId| Peer {
            id: *id,
            pending: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            to_acknowledge: VecDeque::new(),
            heard_at: now,
            present: true,
            asked: 0,
            unsynced: BTreeSet::new(),
            synced: false,
        };
        let peers = peers.iter().map(peer).collect();
        Self { id, life, peers, sent: 0, flush_at: now, swept: 0, detect_ns, outbox: VecDeque::new() }
    }

    pub(crate) fn poll_transmit(
        &mut self,
        now: MonotonicNs,
        store: &mut dyn Store,
    ) -> Option<(NodeId, Vec<u8>)> {
        if now >= self.flush_at {
            self.flush_at = MonotonicNs(now.0 + FLUSH_NS);
            self.flush(now, store);
        }
        self.outbox.pop_front()
    }

    fn flush(&mut self, now: MonotonicNs, store: &mut dyn Store) {
        // The sweep that repairs what a peer could not take.
        self.swept = (self.swept + 1) % store.lines();
        self.peers.iter_mut().for_each(|peer| peer.pending.extend([self.swept]));
        let peers = &mut self.peers;
        store.drain_changed(now, &mut |line| {
            peers.iter_mut().for_each(|peer| peer.pending.extend([line]));
        });
        for position in 0..self.peers.len() {
            let peer = &mut self.peers[position];
            if peer.present && now.since(peer.heard_at) >= self.detect_ns {
                peer.present = false;
                store.peer_present(peer.id, false, now);
            }
            for sent in peer.in_flight.values_mut().filter(|sent| now.since(sent.at) >= RESEND_NS) {
                if !std::mem::replace(&mut sent.again, true) {
                    peer.pending.extend(sent.lines.iter().map(|(line, _)| *line));
                }
            }
            peer.in_flight.retain(|_, sent| now.since(sent.at) < FORGET_NS);
            self.send(position, now, store);
        }
    }

    fn send(&mut self, position: usize, now: MonotonicNs, store: &dyn Store) {
        let peer = &mut self.peers[position];
        let sync = !peer.unsynced.is_empty();
        let lines = if sync { &mut peer.unsynced } else { &mut peer.pending };
        let batch: Vec<u32> = lines.iter().copied().take(ENTRIES).collect();
        if !sync {
            lines.retain(|line| !batch.contains(line));
        }
        let entries: Vec<(u32, Entry)> =
            batch.iter().filter_map(|line| Some((*line, store.entry(*line, now)?))).collect();
        if sync {
            let speaks = |line: &u32| entries.iter().any(|(speaking, _)| speaking == line);
            peer.unsynced.retain(|line| !batch.contains(line) || speaks(line));
        }
        self.sent += 1;
        let done = if peer.unsynced.is_empty() { peer.asked } else { 0 };
        let asks = if peer.synced { 0 } else { self.life };
        let header =
            Header { from: self.id.get().into(), life: self.life, number: self.sent, asks, done, sync };
        let acks: Vec<u64> = peer.to_acknowledge.drain(..).take(60).collect();
        let bytes = encode(&header, &acks, entries.iter().map(|(_, entry)| entry));
        if !entries.is_empty() {
            let counts = entries.iter().map(|(line, entry)| (*line, entry.count)).collect();
            peer.in_flight.insert(self.sent, Sent { at: now, again: false, lines: counts });
        }
        self.outbox.push_back((peer.id, bytes));
    }

    /// Whether the datagram was taken for one.
    pub(crate) fn handle_datagram(&mut self, now: MonotonicNs, bytes: &[u8], store: &mut dyn Store) -> bool {
        let Some((header, acks, entries)) = decode(bytes) else { return false };
        let Some(peer) = self.peers.iter_mut().find(|peer| u64::from(peer.id.get()) == header.from) else {
            return false;
        };
        peer.heard_at = now;
        if !peer.present {
            peer.present = true;
            store.peer_present(peer.id, true, now);
        }
        if header.asks != 0 && header.asks > peer.asked {
            peer.asked = header.asks;
            peer.unsynced = (0..store.lines()).collect();
            peer.pending.clear();
            peer.in_flight.clear();
        }
        let arrival = if header.sync { Arrival::Sync } else { Arrival::Delta };
        for entry in &entries {
            store.apply(peer.id, entry, arrival, now);
        }
        if !entries.is_empty() {
            peer.to_acknowledge.push_back(header.number);
        }
        for number in acks {
            for (line, count) in peer.in_flight.remove(&number).map(|sent| sent.lines).unwrap_or_default() {
                peer.unsynced.remove(&line);
                if store.count(line) == count {
                    peer.pending.remove(&line);
                }
            }
        }
        if header.done == self.life && !peer.synced {
            peer.synced = true;
            store.peer_synced(peer.id, now);
        }
        true
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn encode<'e>(header: &Header, acks: &[u64], entries: impl Iterator<Item = &'e Entry>) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    for field in [header.from, header.life, header.number, header.asks, header.done] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend([u8::from(header.sync), acks.len() as u8]);
    acks.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    for entry in entries {
        bytes.extend(entry.id.get().to_le_bytes());
        for field in [entry.policy, entry.count, entry.used, entry.level] {
            bytes.extend(field.to_le_bytes());
        }
    }
    let sum = checksum(&bytes[8..]);
    bytes[..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<(Header, Vec<u64>, Vec<Entry>)> {
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    let (sum, rest) = bytes.split_at_checked(8)?;
    if word(sum)? != checksum(rest) || rest.len() < HEADER_BYTES {
        return None;
    }
    let field = |index: usize| word(&rest[index * 8..index * 8 + 8]);
    let [from, life, number, asks, done] = [field(0)?, field(1)?, field(2)?, field(3)?, field(4)?];
    let header = Header { from, life, number, asks, done, sync: rest[40] != 0 };
    let (acks, entries) = rest[HEADER_BYTES..].split_at_checked(usize::from(rest[41]) * 8)?;
    let acks = acks.chunks_exact(8).filter_map(word).collect();
    let entry = |bytes: &[u8]| {
        let id = BucketId::from_u128(u128::from_le_bytes(bytes[..16].try_into().ok()?));
        let [policy, count, used, level] =
            [word(&bytes[16..24])?, word(&bytes[24..32])?, word(&bytes[32..40])?, word(&bytes[40..])?];
        Some(Entry { policy, id, count, used, level })
    };
    Some((header, acks, entries.chunks_exact(ENTRY_BYTES).filter_map(entry).collect()))
}
