//! Asking the cache for what coming entries will touch, while those before them are merged.

use arrayvec::ArrayVec;

use super::node::{Peer, Replica};
use super::{Entry, MAX_ENTRIES_HEARD, NodeId};

/// Entries between asking for tags and reading them, and between asking for a line and merging into it: what memory
/// takes to answer, in merges.
pub(super) const AHEAD: usize = 8;
/// A table of so few lines (128 KiB) stays in a core's own caches, and to ask for its lines gains nothing. Caches
/// that cores share do not count: each line is touched once a flush, and others displace it in between.
const CACHED_LINES: usize = 1 << 11;

/// The entries of a datagram in turn, with the line that each one's bucket is most likely in.
///
/// To find all lines first and merge then would let the processor wait for memory, and memory for the processor.
#[derive(Debug)]
pub struct Ahead<'e> {
    entries: &'e [Entry],
    column: Option<usize>,
    /// Of the entries whose lines were asked for; empty for a table that is in the cache anyway.
    lines: ArrayVec<usize, MAX_ENTRIES_HEARD>,
    next: usize,
    is_cached: bool,
}

impl<'e> Ahead<'e> {
    /// Of at most [`MAX_ENTRIES_HEARD`] entries from `from`; more are left out.
    #[must_use]
    pub fn new(replica: &Replica, from: NodeId, entries: &'e [Entry]) -> Self {
        let entries = &entries[..entries.len().min(MAX_ENTRIES_HEARD)];
        let is_cached = replica.table.len_lines() <= CACHED_LINES;
        let mut ahead =
            Self { entries, column: replica.column(from), lines: ArrayVec::new(), next: 0, is_cached };
        (0..2 * AHEAD).for_each(|place| ahead.ask_for_tags(replica, place));
        (0..AHEAD).for_each(|place| ahead.ask_for_line(replica, place));
        ahead
    }

    /// The next entry, and where its bucket may be.
    pub fn next(&mut self, replica: &Replica) -> Option<(&'e Entry, Option<usize>)> {
        let place = self.next;
        let entry = self.entries.get(place)?;
        self.next += 1;
        self.ask_for_tags(replica, place + 2 * AHEAD);
        self.ask_for_line(replica, place + AHEAD);
        Some((entry, self.lines.get(place).copied()))
    }

    fn ask_for_tags(&self, replica: &Replica, place: usize) {
        if let (false, Some(entry)) = (self.is_cached, self.entries.get(place)) {
            replica.table.ask_for_tags(entry.id);
        }
    }

    fn ask_for_line(&mut self, replica: &Replica, place: usize) {
        if let (false, Some(entry)) = (self.is_cached, self.entries.get(place)) {
            let line = replica.table.ask_for_tagged(entry.id);
            if let Some(Peer { heard, .. }) = self.column.and_then(|column| replica.peers.get(column)) {
                heard.prefetch(line);
            }
            self.lines.push(line);
        }
    }
}

/// The lines in turn, each asked for some lines before its turn.
pub(super) fn asked_ahead<'l>(lines: &'l [u32], ask: impl Fn(u32) + 'l) -> impl Iterator<Item = u32> + 'l {
    lines.iter().take(AHEAD).for_each(|line| ask(*line));
    lines.iter().enumerate().map(move |(place, line)| {
        lines.get(place + AHEAD).into_iter().for_each(|later| ask(*later));
        *line
    })
}
