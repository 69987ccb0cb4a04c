//! Which peers can be heard, what is charged for those that cannot, and what is given back after.

use std::time::Duration;

use super::node::Replica;
use super::shares::{Observed, even_shares, factor};
use crate::bucket::absent::Absent;
use crate::bucket::sharing::{Consistency, Partition, Share};
use crate::time::MonotonicNs;

/// A sync that takes longer than this is not waited for: what is heard is charged.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines looked at in one go for what is to be given back: a megabyte.
const LINES_A_SWEEP: usize = 16_384;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Present,
    Absent,
    /// Heard again. Until this time its growth is first set against what was charged for it in its absence.
    Returning(MonotonicNs),
}

/// The peers by column.
#[derive(Debug)]
pub(super) struct Presence {
    states: Vec<State>,
    /// Peers whose full sync has not arrived yet.
    joining: Vec<bool>,
    started: MonotonicNs,
    /// How long a peer that is back is given to tell what it used while it was absent.
    settle_time: Duration,
    rotated: MonotonicNs,
    /// A peer was absent, and what was charged too much for it has not been given back yet.
    owes: bool,
    /// How far giving back has come: lines below this are done.
    swept: Option<usize>,
}

impl Presence {
    pub(super) fn new(peers: usize, detect_timeout: Duration, now: MonotonicNs) -> Self {
        Self {
            states: vec![State::Present; peers],
            joining: vec![true; peers],
            started: now,
            settle_time: detect_timeout,
            rotated: now,
            owes: false,
            swept: None,
        }
    }

    pub(super) fn set(&mut self, column: usize, present: bool, now: MonotonicNs) {
        let state = &mut self.states[column];
        match (*state, present) {
            (State::Absent, true) => *state = State::Returning(now.after(self.settle_time)),
            (State::Present | State::Returning(_), false) => {
                *state = State::Absent;
                self.owes = true;
                self.swept = None;
            }
            _ => {}
        }
    }

    pub(super) fn joined(&mut self, column: usize) {
        self.joining[column] = false;
    }

    pub(super) fn is_joining(&self, column: usize, now: MonotonicNs) -> bool {
        self.joining[column] && now < self.started.after(JOIN_TIMEOUT)
    }

    pub(super) fn is_returning(&self, column: usize, now: MonotonicNs) -> bool {
        match self.states[column] {
            State::Present => false,
            State::Absent => true,
            State::Returning(until) => now < until,
        }
    }

    /// Whether some peer is absent or just back, so that what is heard of consumption is not the usual.
    pub(super) fn is_disturbed(&self) -> bool {
        self.states.iter().any(|state| *state != State::Present)
    }

    /// A bit for each absent node, as [`factor`] takes them.
    fn absent(&self) -> u16 {
        let absent = self.states.iter().enumerate().filter(|(_, state)| **state == State::Absent);
        absent.fold(0, |bits, (column, _)| bits | 1 << (column + 1))
    }

    /// Whether what is left of what was charged for absent peers is given back as soon as those that are back had time
    /// to tell what they used.
    pub(super) fn gives_back(&self) -> bool {
        self.absent() == 0
    }

    /// Whether it is time to set observations aside: every twice the time in which a cut is noticed.
    pub(super) fn rotation_is_due(&mut self, now: MonotonicNs) -> bool {
        let due = now >= self.rotated.after(self.settle_time * 2);
        if due {
            self.rotated = now;
        }
        due
    }

    /// The lines whose excess is to be given back now; none while a peer is away or nothing is owed.
    fn sweep(&mut self, lines: usize, now: MonotonicNs) -> std::ops::Range<usize> {
        for state in &mut self.states {
            if matches!(*state, State::Returning(until) if now >= until) {
                *state = State::Present;
            }
        }
        if !self.owes || self.is_disturbed() {
            return 0..0;
        }
        let begin = self.swept.unwrap_or(0);
        let end = (begin + LINES_A_SWEEP).min(lines);
        self.swept = Some(end);
        self.owes = end < lines;
        begin..end
    }
}

impl Replica {
    /// Tells the table what charges also do for the peers that are absent now, or were a short time ago.
    pub(super) fn publish_absent(&self) {
        let absent = self.presence.absent();
        let nodes = self.peers.len() + 1;
        for (slot, rules) in self.directory.slots() {
            let factor =
                rules.map_or(0, |rules| match (rules.sharing.partition, rules.sharing.consistency) {
                    (Partition::Full, _) | (_, Consistency::Strict) => 0,
                    _ if absent == 0 => 0,
                    _ => factor(&self.shares(rules.sharing.share, rules.index, nodes), absent),
                });
            let noted = if self.presence.owes { Absent::noted(factor) } else { Absent::NONE };
            self.table.set_absent(slot, noted);
        }
    }

    fn shares(&self, share: Share, policy: usize, nodes: usize) -> [f64; super::MAX_NODES] {
        match share {
            Share::Equal => even_shares(nodes),
            Share::Observed => {
                self.observed.get(policy).map_or_else(|| even_shares(nodes), |o: &Observed| o.shares(nodes))
            }
        }
    }

    /// Gives back, a part of the table at a time, what was charged too much for peers that are back.
    pub(super) fn settle(&mut self, now: MonotonicNs) {
        let owed = self.presence.owes;
        for line in self.presence.sweep(self.table.len_lines(), now) {
            self.table.return_phantom(line, now);
        }
        if self.presence.owes != owed {
            self.publish_absent();
        }
    }
}
