//! What one peer is to be told of, in which order, and what is put back when a datagram is lost.

use super::ack::{Cargo, Fate, Sent};
use super::batch::{BATCH_ENTRIES, Batch};
use super::pending::Backlog;
use super::sync::{Served, Sweep};
use super::urgency::UrgentWalk;
use crate::replica::Store;
use crate::time::MonotonicNs;

/// Lines that a flush looks at, for each peer: a few milliseconds of the control plane.
const LINES_A_FLUSH: u32 = 65_536;

/// Lines that wait for one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    backlog: Backlog,
    urgent: UrgentWalk,
    pub(super) served: Served,
    sweep: Sweep,
    /// Changes and a sync take turns.
    sync_is_next: bool,
    looks: u32,
}

impl Outbox {
    pub(super) fn new(lines: u32, now: MonotonicNs) -> Self {
        Self {
            backlog: Backlog::new(lines),
            urgent: UrgentWalk::default(),
            served: Served::new(lines),
            sweep: Sweep::new(lines, now),
            sync_is_next: false,
            looks: 0,
        }
    }

    /// A line has changed, at `changed_at` or later.
    pub(super) fn changed(&mut self, line: u32, changed_at: MonotonicNs) {
        self.backlog.insert(line, changed_at);
    }

    /// Lines that wait because they changed.
    pub(super) const fn pending(&self) -> u32 {
        self.backlog.lines().len()
    }

    /// No change that waits is older.
    pub(super) fn oldest_change(&self) -> Option<MonotonicNs> {
        self.backlog.oldest()
    }

    /// A flush begins in which `affordable` lines can be sent.
    pub(super) fn begin_flush(&mut self, affordable: u32, store: &dyn Store, now: MonotonicNs) {
        self.looks = LINES_A_FLUSH;
        self.sweep.earn(now);
        self.urgent.plan(self.backlog.lines(), affordable, |line| store.urgency(line, now));
    }

    /// Gathers at most `most` entries: changes and a sync in turn, or what the sweep comes by when there is
    /// neither.
    pub(super) fn gather(&mut self, batch: &mut Batch, most: usize, store: &dyn Store, now: MonotonicNs) {
        for _ in 0..2 {
            self.sync_is_next = !self.sync_is_next;
            let cargo = if self.sync_is_next { Cargo::Changes } else { Cargo::Sync };
            self.gather_cargo(cargo, batch, most, store, now);
            if !batch.is_empty() {
                return;
            }
        }
        self.gather_cargo(Cargo::Nothing, batch, most, store, now);
    }

    fn gather_cargo(
        &mut self,
        cargo: Cargo,
        batch: &mut Batch,
        most: usize,
        store: &dyn Store,
        now: MonotonicNs,
    ) {
        batch.begin(cargo, self.backlog.oldest().unwrap_or(now));
        while batch.len() < most.min(BATCH_ENTRIES) && self.looks > 0 {
            let line = match cargo {
                Cargo::Changes => self.next_changed(store, now),
                Cargo::Sync => self.served.take_next(),
                Cargo::Nothing => self.sweep.take_next(),
            };
            let Some(line) = line else { break };
            self.looks -= 1;
            if let Some(entry) = store.entry(line, now) {
                batch.push(line, entry);
            }
        }
        batch.finish();
    }

    fn next_changed(&mut self, store: &dyn Store, now: MonotonicNs) -> Option<u32> {
        let urgent = self.urgent.next(self.backlog.lines(), |line| store.urgency(line, now));
        if let Some(line) = urgent {
            self.backlog.remove(line);
        }
        urgent.or_else(|| self.backlog.take_next())
    }

    /// What was gathered and cannot be sent waits again.
    pub(super) fn put_back(&mut self, batch: &mut Batch) {
        let (cargo, oldest_change) = (batch.cargo(), batch.oldest_change());
        for (line, _) in batch.rest() {
            self.put_back_line(*line, cargo, oldest_change);
        }
        batch.begin(Cargo::Nothing, oldest_change);
    }

    /// A datagram's lines were heard, or wait again.
    pub(super) fn landed(&mut self, sent: &Sent, fate: Fate) {
        if sent.cargo == Cargo::Sync {
            self.served.landed(sent.lines.len());
        }
        if fate == Fate::Lost {
            for line in &sent.lines {
                self.put_back_line(*line, sent.cargo, sent.oldest_change);
            }
        }
    }

    fn put_back_line(&mut self, line: u32, cargo: Cargo, oldest_change: MonotonicNs) {
        match cargo {
            Cargo::Changes => self.backlog.insert(line, oldest_change),
            Cargo::Sync => self.served.put_back(line),
            Cargo::Nothing => {}
        }
    }
}
