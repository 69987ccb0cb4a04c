//! Asking the cache for what coming entries will touch, while those before them are merged.

use arrayvec::ArrayVec;

use super::node::{Peer, Replica};
use super::{Entry, MAX_ENTRIES_HEARD, NodeId};

/// Entries between asking for tags and reading them, and between asking for a line and merging into it: what memory
/// takes to answer, in merges.
pub(super) const AHEAD: usize = 8;
/// So many are asked for in a row: the processor looks their addresses up side by side, where one alone can hold up
/// all that comes after it.
const TOGETHER: usize = 4;
/// A table of so few lines (128 KiB) stays in a core's own caches, and to ask for its lines gains nothing. Caches
/// that cores share do not count: each line is touched once a flush, and others displace it in between.
const CACHED_LINES: usize = 1 << 11;

/// The entries of a datagram in turn, with the line that each one's bucket is most likely in.
///
/// To find all lines first and merge then would let the processor wait for memory, and memory for the processor.
#[derive(Debug)]
pub struct Ahead<'e> {
    entries: &'e [Entry],
    /// Those whose lines are asked for: all, or none for a table that is in the cache anyway.
    asked: &'e [Entry],
    column: Option<usize>,
    /// Of the entries whose lines were asked for.
    lines: ArrayVec<usize, MAX_ENTRIES_HEARD>,
    next: usize,
}

impl<'e> Ahead<'e> {
    /// Of at most [`MAX_ENTRIES_HEARD`] entries from `from`; more are left out.
    #[must_use]
    pub fn new(replica: &Replica, from: NodeId, entries: &'e [Entry]) -> Self {
        let entries = &entries[..entries.len().min(MAX_ENTRIES_HEARD)];
        let is_cached = replica.table.len_lines() <= CACHED_LINES;
        let asked = if is_cached { &[] } else { entries };
        Self { entries, asked, column: replica.column(from), lines: ArrayVec::new(), next: 0 }
    }

    /// The next entry, and the line that its bucket is in, as its tags have it.
    pub fn next(&mut self, replica: &Replica) -> Option<(&'e Entry, usize)> {
        let place = self.next;
        let entry = self.entries.get(place)?;
        self.next += 1;
        coming(self.asked, place, 2 * AHEAD).iter().for_each(|entry| replica.table.ask_for_tags(entry.id));
        coming(self.asked, place, AHEAD).iter().for_each(|entry| self.ask_for_line(replica, entry));
        let line = self.lines.get(place).copied();
        Some((entry, line.unwrap_or_else(|| replica.table.ask_for_tagged(entry.id))))
    }

    fn ask_for_line(&mut self, replica: &Replica, entry: &Entry) {
        let line = replica.table.ask_for_tagged(entry.id);
        if let Some(Peer { heard, .. }) = self.column.and_then(|column| replica.peers.get(column)) {
            heard.prefetch(line);
        }
        self.lines.push(line);
    }
}

/// Those of `items` to ask for at a place of them, to be `distance` ahead at least: at every fourth place four, and at
/// the first all up to those.
pub(super) fn coming<T>(items: &[T], place: usize, distance: usize) -> &[T] {
    if !place.is_multiple_of(TOGETHER) {
        return &[];
    }
    let end = items.len().min(place + distance + TOGETHER);
    let start = if place == 0 { 0 } else { end.min(place + distance) };
    &items[start..end]
}

/// The lines in turn, each asked for some lines before its turn.
pub(super) fn asked_ahead<'l>(lines: &'l [u32], ask: impl Fn(u32) + 'l) -> impl Iterator<Item = u32> + 'l {
    lines.iter().enumerate().map(move |(place, line)| {
        coming(lines, place, AHEAD).iter().for_each(|later| ask(*later));
        *line
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_for_once_and_before_its_turn() {
        for (count, distance) in [(0, 3), (1, 3), (3, 3), (4, 3), (35, 8), (35, 16)] {
            let items: Vec<usize> = (0..count).collect();
            let mut asked: Vec<usize> = vec![];
            for place in 0..count {
                asked.extend(coming(&items, place, distance));
                let until = place / TOGETHER * TOGETHER + TOGETHER + distance;
                assert_eq!(asked, items[..count.min(until)], "{count} {distance} {place}");
            }
        }
    }
}
