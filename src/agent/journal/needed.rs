//! Which lines a restart must still find, however many files are dropped.

use std::collections::{BTreeMap, VecDeque};

use super::format::Line;
use crate::agent::types::{
    DAY_MS, DOWN_PREFIX, Entry, FROZEN, IncidentId, Phase, SPENT_PREFIX, Step, UnixMs,
};

/// More announced writes than that in a day are not told apart: the cap of a day is far below.
const MAX_WRITES: usize = 1024;
/// Regions are few, and each has two signals.
const MAX_STANDING: usize = 256;

/// What the lines up to now add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed {
    /// The incident that has neither been reported nor come to nothing, and its first line.
    open: Option<(IncidentId, u64)>,
    closed: Option<IncidentId>,
    /// Announced writes of the last day: a restart counts them against the cap.
    writes: VecDeque<(UnixMs, u64)>,
    /// Signals that hold until they are taken back, with the last line that says so.
    standing: BTreeMap<String, (u64, String)>,
}

impl Needed {
    /// The number of the first line that is needed: from there on no file may be dropped.
    pub(super) fn from(&self) -> Option<u64> {
        let open = self.open.as_ref().map(|(_, sequence)| *sequence);
        let write = self.writes.front().map(|(_, sequence)| *sequence);
        let standing = self.standing.values().map(|(sequence, _)| *sequence).min();
        [open, write, standing].into_iter().flatten().min()
    }

    /// Signals that hold and were last written before line `sequence`, to be written once more.
    pub(super) fn standing_before(&self, sequence: u64) -> Vec<Entry> {
        let older = self.standing.iter().filter(|(_, (written, _))| *written < sequence);
        older
            .map(|(signal, (_, detail))| Entry::Signal {
                signal: signal.clone(),
                raised: true,
                detail: detail.clone(),
            })
            .collect()
    }

    pub(super) fn see(&mut self, line: &Line) {
        let is_over = |(at, _): &(UnixMs, u64)| line.at.since_ms(*at) > DAY_MS;
        while self.writes.front().is_some_and(is_over) || self.writes.len() > MAX_WRITES {
            self.writes.pop_front();
        }
        let entry = line.logged.known();
        let closes = matches!(entry, Some(Entry::Moved { to: Phase::Reported | Phase::Watching, .. }));
        self.see_incident(line, closes);
        match entry {
            Some(Entry::Intent { step: Step::WriteRecord, .. }) => {
                self.writes.push_back((line.at, line.sequence));
            }
            Some(Entry::Signal { signal, raised, detail }) => {
                self.see_signal(line.sequence, signal, *raised, detail);
            }
            _ => {}
        }
    }

    fn see_incident(&mut self, line: &Line, closes: bool) {
        let Some(incident) = &line.incident else { return };
        let open = self.open.as_ref().map(|(open, _)| open);
        if closes {
            self.open = self.open.take().filter(|(open, _)| open != incident);
            self.closed = Some(incident.clone());
        } else if open != Some(incident) && self.closed.as_ref() != Some(incident) {
            self.open = Some((incident.clone(), line.sequence));
        }
    }

    fn see_signal(&mut self, sequence: u64, signal: &str, raised: bool, detail: &str) {
        let region = signal.strip_prefix(DOWN_PREFIX);
        let stands = signal == FROZEN || region.is_some() || signal.starts_with(SPENT_PREFIX);
        if raised && stands && self.standing.len() < MAX_STANDING {
            self.standing.insert(signal.to_owned(), (sequence, detail.to_owned()));
        }
        if !raised {
            self.standing.remove(signal);
            // A region that is back may be acted for again.
            region.map(|region| self.standing.remove(&format!("{SPENT_PREFIX}{region}")));
        }
    }
}
