//! The link to one peer: what is sent to it, what is heard of it, and what is known of it.

use std::net::SocketAddr;
use std::time::Duration;

use arrayvec::ArrayVec;
use ring::aead::LessSafeKey;

use super::ack::{Cargo, Fate, Flight, MAX_ENTRIES, Sent};
use super::batch::Batch;
use super::budget::{Budget, OVERHEAD_BYTES};
use super::keys::{BootSalt, KeySchedule, Random};
use super::liveness::{HeardThere, Liveness};
use super::outbox::Outbox;
use super::rtt::RttEstimate;
use super::seal::{self, Envelope, MAX_DATAGRAM_BYTES};
use super::session::{Inbound, Opened};
use super::stats::{Contact, ConvergenceLag, PeerCounters, PeerStats, Rejected, Rejections};
use super::sync::SyncId;
use super::wire::{
    self, ENTRY_BYTES, FLAG_HEARTBEAT, FLAG_SYNC, FLAG_SYNC_DONE, Frame, HEADER_BYTES, Header, MAX_ACK_WORDS,
};
use super::{LinkConfig, PeerAddress};
use crate::bucket::table::Change;
use crate::replica::{Arrival, Entry, NodeId, Store};
use crate::time::MonotonicNs;

/// What a datagram takes at most, on the wire.
const FULL_DATAGRAM: u64 = MAX_DATAGRAM_BYTES as u64 + OVERHEAD_BYTES;
/// Each acknowledgement is repeated in so many flushes, so that the loss of one costs nothing.
const ACK_FLUSHES: usize = 4;
const _: () = assert!(
    MAX_ENTRIES == (MAX_DATAGRAM_BYTES - seal::ENVELOPE_BYTES - seal::TAG_BYTES - HEADER_BYTES) / ENTRY_BYTES
);

/// What is the same for all peers.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) node: NodeId,
    pub(super) schedule: KeySchedule,
    pub(super) cluster: [u8; 4],
    pub(super) salt: BootSalt,
}

/// The link to one peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    flush_interval: Duration,
    key: LessSafeKey,
    inbound: Inbound,
    flight: Flight,
    outbox: Outbox,
    /// The full sync that this node still wants of the peer.
    wanted: Option<SyncId>,
    liveness: Liveness,
    heard_there: HeardThere,
    /// Whether each hears the other, as the store was told last.
    is_shared_with: bool,
    rtt: RttEstimate,
    budget: Budget,
    heartbeat_due: bool,
    /// The highest number heard when each of the last flushes began.
    heard_before: [u64; ACK_FLUSHES],
    counters: PeerCounters,
    convergence: ConvergenceLag,
    rejected: Rejections,
}

impl Peer {
    pub(super) fn new(
        peer: &PeerAddress,
        config: &LinkConfig,
        origin: &Origin,
        random: &mut Random,
        lines: u32,
        now: MonotonicNs,
    ) -> Self {
        Self {
            node: peer.node,
            address: peer.address,
            flush_interval: config.flush_interval,
            key: origin.schedule.datagram_key(config.node, peer.node, &origin.salt),
            inbound: Inbound::new(peer.node, config.node, config.detect_timeout, random),
            flight: Flight::new(),
            outbox: Outbox::new(lines, config.flush_interval, now),
            wanted: Some(random.sync_id()),
            liveness: Liveness::new(config.flush_interval, config.detect_timeout, now),
            heard_there: HeardThere::new(config.detect_timeout, now),
            is_shared_with: true,
            rtt: RttEstimate::default(),
            budget: Budget::new(config.max_bytes_per_second, config.flush_interval, now),
            heartbeat_due: false,
            heard_before: [0; ACK_FLUSHES],
            counters: PeerCounters::default(),
            convergence: ConvergenceLag::default(),
            rejected: Rejections::default(),
        }
    }

    /// Lines have changed, at `changed_at` or later.
    pub(super) fn changed(&mut self, changed: &[Change], changed_at: MonotonicNs) {
        self.outbox.changed(changed, changed_at);
    }

    /// A datagram that names this peer was rejected.
    pub(super) fn reject(&mut self, rejected: Rejected) {
        self.rejected.add(rejected);
    }

    /// Opens a datagram that names this peer as its sender and takes what it says; returns how many entries it had.
    pub(super) fn receive(
        &mut self,
        envelope: &Envelope,
        datagram: &mut [u8],
        origin: &Origin,
        random: &mut Random,
        store: &mut dyn Store,
        now: MonotonicNs,
    ) -> Result<u32, Rejected> {
        let bytes = datagram.len();
        let opened = self.inbound.receive(envelope, datagram, &origin.schedule, random, now)?;
        if opened.is_new_boot {
            store.peer_started(self.node);
            self.lose_all();
            self.heard_before = [0; ACK_FLUSHES];
            self.heard_there.met(now);
        }
        self.liveness.heard(opened.frame.header.flags & FLAG_HEARTBEAT != 0, now);
        if opened.is_newest {
            self.heard_there.told(&opened.frame.header, now);
        }
        self.tell_presence(store, now);
        self.take_acks(&opened.frame, now);
        let entries = self.apply(&opened.frame, store, now);
        self.take_sync_state(&opened, store, now);
        self.counters.datagrams_received += 1;
        self.counters.bytes_received += bytes as u64;
        self.counters.entries_received += u64::from(entries);
        Ok(entries)
    }

    /// Tells the store when limits begin or cease to be shared with the peer: they are while each hears the other.
    fn tell_presence(&mut self, store: &mut dyn Store, now: MonotonicNs) {
        let is_shared_with = self.contact() == Contact::Mutual;
        if is_shared_with != self.is_shared_with {
            self.is_shared_with = is_shared_with;
            store.peer_present(self.node, is_shared_with, now);
        }
    }

    /// A datagram of this peer came from another address than its own.
    pub(super) fn note_elsewhere(&mut self) {
        self.counters.from_elsewhere += 1;
    }

    fn apply(&self, frame: &Frame<'_>, store: &mut dyn Store, now: MonotonicNs) -> u32 {
        let is_sync = frame.header.flags & FLAG_SYNC != 0 && self.is_wanted(frame.header.sync_served);
        let arrival = if is_sync { Arrival::Sync } else { Arrival::Delta };
        // Filled where it stays: collected, it would be moved as a whole.
        let mut entries: ArrayVec<Entry, MAX_ENTRIES> = ArrayVec::new();
        entries.extend(frame.entries().take(MAX_ENTRIES));
        store.hear(self.node, &entries, arrival, now);
        entries.len() as u32
    }

    /// Whether what the peer serves, by its number on the wire, is the sync that this node wants.
    fn is_wanted(&self, served: u32) -> bool {
        self.wanted.is_some() && self.wanted == SyncId::new(served)
    }

    fn take_sync_state(&mut self, opened: &Opened<'_>, store: &mut dyn Store, now: MonotonicNs) {
        let header = &opened.frame.header;
        if opened.is_newest {
            self.outbox.served.ask(SyncId::new(header.sync_wanted));
        }
        if header.flags & FLAG_SYNC_DONE != 0 && self.is_wanted(header.sync_served) {
            self.wanted = None;
            store.peer_synced(self.node, now);
        }
    }

    fn take_acks(&mut self, frame: &Frame<'_>, now: MonotonicNs) {
        let Self { flight, outbox, counters, convergence, rtt, .. } = self;
        let one_way_ns = rtt.smoothed().map_or(0, |rtt| rtt.as_nanos() as u64 / 2);
        let sent_at = flight.acknowledge(frame.header.ack_highest, frame.words(), |sent, fate| {
            if fate == Fate::Heard && sent.cargo == Cargo::Changes {
                let waited_ns = sent.sent_at.since(sent.oldest_change);
                convergence.add(waited_ns.saturating_add(one_way_ns), sent.lines.len() as u64);
            }
            land(outbox, counters, &sent, fate);
        });
        if let Some(sent_at) = sent_at {
            let delay_ns = u64::from(frame.header.ack_delay_us) * 1000;
            rtt.sample(now.since(sent_at).saturating_sub(delay_ns));
        }
    }

    fn lose_all(&mut self) {
        let Self { flight, outbox, counters, .. } = self;
        flight.lose_all(|sent, fate| land(outbox, counters, &sent, fate));
    }

    /// Begins a flush: what has timed out counts as lost, and a heartbeat is due.
    pub(super) fn begin_flush(&mut self, store: &mut dyn Store, now: MonotonicNs) {
        self.budget.fill(now);
        let timeout_ns = u64::try_from(self.rtt.timeout(self.flush_interval).as_nanos()).unwrap_or(u64::MAX);
        let Self { flight, outbox, counters, .. } = self;
        let lost = counters.datagrams_lost;
        flight.expire(now, timeout_ns, |sent, fate| land(outbox, counters, &sent, fate));
        if counters.datagrams_lost > lost {
            self.rtt.timed_out();
        }
        if self.liveness.fell_silent(now) {
            self.lose_all();
        }
        self.tell_presence(store, now);
        self.heartbeat_due = true;
        let affordable = if self.is_reachable() { self.affordable() } else { u32::MAX };
        self.outbox.begin_flush(affordable, store, now);
    }

    /// Lines that the budget and the flight have room for now.
    fn affordable(&self) -> u32 {
        let datagrams = (self.budget.available() / FULL_DATAGRAM).min(self.flight.room());
        datagrams as u32 * MAX_ENTRIES as u32
    }

    pub(super) const fn contact(&self) -> Contact {
        match (self.liveness.is_present(), self.heard_there.is_deaf()) {
            (false, _) => Contact::Silent,
            (true, true) => Contact::OneWay,
            (true, false) => Contact::Mutual,
        }
    }

    /// An absent peer gets heartbeats alone. A deaf one is told of changes all the same, since it may hear again.
    const fn is_reachable(&self) -> bool {
        self.inbound.is_connected() && self.liveness.is_present()
    }

    /// Writes the next datagram of this flush and returns its length; `None` when there is no more to send.
    pub(super) fn transmit(
        &mut self,
        origin: &Origin,
        batch: &mut Batch,
        store: &mut dyn Store,
        out: &mut [u8; MAX_DATAGRAM_BYTES],
        now: MonotonicNs,
    ) -> Option<usize> {
        let affordable = if self.is_reachable() { self.affordable() } else { 0 };
        if affordable == 0 {
            self.outbox.put_back(batch);
        } else if batch.is_empty() {
            self.outbox.gather(batch, affordable as usize, store, now);
        }
        if batch.is_empty() && !self.heartbeat_due {
            return None;
        }
        Some(self.send(origin, batch, out, now))
    }

    fn send(
        &mut self,
        origin: &Origin,
        batch: &mut Batch,
        out: &mut [u8; MAX_DATAGRAM_BYTES],
        now: MonotonicNs,
    ) -> usize {
        let mut words = [0; MAX_ACK_WORDS];
        let acks = if self.heartbeat_due { self.write_acks(&mut words) } else { 0 };
        let header = self.header(batch.cargo(), now);
        let (length, entries) = wire::encode(header, &words[..acks], batch.rest(), seal::body_mut(out));
        let number = self.track(batch, entries, now);
        batch.sent(entries);
        let envelope = Envelope {
            from: origin.node.get(),
            to: self.node.get(),
            cluster: origin.cluster,
            salt: origin.salt,
            number,
        };
        let bytes = seal::seal(&self.key, &envelope, length, out);
        self.heartbeat_due = false;
        self.budget.spend(bytes);
        self.counters.datagrams_sent += 1;
        self.counters.bytes_sent += bytes as u64;
        self.counters.entries_sent += entries as u64;
        bytes
    }

    /// Notes which lines a datagram tells of, and returns its number.
    fn track(&mut self, batch: &Batch, entries: usize, now: MonotonicNs) -> u64 {
        let cargo = if entries == 0 { Cargo::Nothing } else { batch.cargo() };
        let lines = batch.rest()[..entries].iter().map(|(line, _)| *line);
        let sent = Sent { sent_at: now, oldest_change: batch.oldest_change(), cargo, lines: lines.collect() };
        if cargo == Cargo::Sync {
            self.outbox.served.sent(entries);
        }
        let Self { flight, outbox, counters, .. } = self;
        flight.push(sent, |sent, fate| land(outbox, counters, &sent, fate))
    }

    fn header(&self, cargo: Cargo, now: MonotonicNs) -> Header {
        let served = &self.outbox.served;
        let mut flags = if self.heartbeat_due { FLAG_HEARTBEAT } else { 0 };
        flags |= if cargo == Cargo::Sync { FLAG_SYNC } else { 0 };
        flags |= if served.is_done() && cargo != Cargo::Sync { FLAG_SYNC_DONE } else { 0 };
        let heard = self.inbound.heard();
        let delay_us = heard.map_or(0, |heard| now.since(heard.newest_at) / 1000);
        Header {
            challenge: self.inbound.challenge(),
            echo: self.inbound.echo(),
            ack_highest: heard.map_or(0, |heard| heard.window.highest()),
            ack_delay_us: u32::try_from(delay_us).unwrap_or(u32::MAX),
            sync_wanted: self.wanted.map_or(0, SyncId::get),
            sync_served: served.request().map_or(0, SyncId::get),
            flags,
            ..Header::default()
        }
    }

    /// Writes the acknowledgement words that cover what was heard in the last flushes, and returns how many.
    fn write_acks(&mut self, words: &mut [u64; MAX_ACK_WORDS]) -> usize {
        let Some(heard) = self.inbound.heard() else { return 0 };
        let highest = heard.window.highest();
        let news = highest.saturating_sub(self.heard_before[0]) / 64 + 1;
        let count = news.min(MAX_ACK_WORDS as u64) as usize;
        for (at, word) in words[..count].iter_mut().enumerate() {
            *word = heard.window.ack_word(at);
        }
        self.heard_before.rotate_left(1);
        self.heard_before[ACK_FLUSHES - 1] = highest;
        count
    }

    /// Whether it has not acknowledged the latest change of a line.
    pub(super) fn awaits(&self, line: u32) -> bool {
        let mut changes = self.flight.sent().filter(|sent| sent.cargo == Cargo::Changes);
        self.outbox.awaits(line) || changes.any(|sent| sent.lines.contains(&line))
    }

    /// Signs of a second node with its number.
    pub(super) const fn duplicate_nodes(&self) -> u64 {
        self.inbound.counts().1
    }

    pub(super) fn stats(&self, now: MonotonicNs) -> PeerStats {
        let changes = || self.flight.sent().filter(|sent| sent.cargo == Cargo::Changes);
        let oldest = changes().map(|sent| sent.oldest_change).chain(self.outbox.oldest_change()).min();
        let (boots, duplicate_node) = self.inbound.counts();
        PeerStats {
            node: self.node,
            address: self.address,
            present: self.liveness.is_present(),
            deaf: self.heard_there.is_deaf(),
            connected: self.inbound.is_connected(),
            synced: self.wanted.is_none(),
            phi: self.liveness.phi(now),
            rtt: self.rtt.smoothed(),
            lag: Duration::from_nanos(oldest.map_or(0, |oldest| now.since(oldest))),
            pending: self.outbox.pending(),
            in_flight: changes().map(|sent| sent.lines.len() as u32).sum(),
            absent: Duration::from_nanos(self.liveness.absent_ns(now)),
            convergence: self.convergence,
            counters: PeerCounters { boots, duplicate_node, ..self.counters },
            rejected: self.rejected,
        }
    }
}

fn land(outbox: &mut Outbox, counters: &mut PeerCounters, sent: &Sent, fate: Fate) {
    if fate == Fate::Lost {
        counters.datagrams_lost += 1;
        if sent.cargo != Cargo::Nothing {
            counters.entries_resent += sent.lines.len() as u64;
        }
    }
    outbox.landed(sent, fate);
}
