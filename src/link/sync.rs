//! A full sync: a node that starts asks, and its peer tells it of every line, each until it is heard.
//!
//! What is left to tell is a set of lines, so a sync goes on where it was when datagrams are lost, and ends
//! when the set is empty and nothing of it is on its way. Beside it, the sweep: all lines again and again,
//! slowly, which repairs what nobody knows to be wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::pending::LineSet;
use crate::time::MonotonicNs;

/// The sweep tells of each line once in this time.
const SWEEP_PERIOD: Duration = Duration::from_secs(600);
/// After a pause the sweep makes up for at most so many lines, or for so many flushes.
const MAX_SWEEP_LINES: u64 = 4096;
const MAX_SWEEP_FLUSHES: u32 = 2;

/// The number of a request for a full sync; on the wire zero stands for none.
pub(super) type SyncId = NonZeroU32;

/// The full sync that a peer asked for.
#[derive(Debug)]
pub(super) struct Served {
    request: Option<SyncId>,
    /// The request that was served last. It is not begun anew.
    last: Option<SyncId>,
    lines: LineSet,
    cursor: u32,
    on_their_way: u32,
}

impl Served {
    pub(super) fn new(lines: u32) -> Self {
        Self { request: None, last: None, lines: LineSet::new(lines), cursor: 0, on_their_way: 0 }
    }

    /// The peer asks for sync `wanted`, or for none any more.
    pub(super) fn ask(&mut self, wanted: Option<SyncId>) {
        if wanted == self.request {
            return;
        }
        self.request = wanted;
        if wanted.is_none() {
            self.lines.clear();
        } else if wanted != self.last {
            (self.last, self.cursor) = (wanted, 0);
            self.lines.fill();
        }
    }

    /// The request that is served.
    pub(super) const fn request(&self) -> Option<SyncId> {
        self.request
    }

    /// Whether the peer has heard all there is.
    pub(super) const fn is_done(&self) -> bool {
        self.request.is_some() && self.lines.is_empty() && self.on_their_way == 0
    }

    /// Takes the lines whose turn it is, until `taken` has `most`.
    pub(super) fn take_next<const N: usize>(&mut self, taken: &mut ArrayVec<u32, N>, most: usize) {
        self.lines.take_round(&mut self.cursor, taken, most);
    }

    /// Lines have been sent.
    pub(super) fn sent(&mut self, lines: usize) {
        self.on_their_way += lines as u32;
    }

    /// Lines that were sent have been heard or lost.
    pub(super) fn landed(&mut self, lines: usize) {
        self.on_their_way = self.on_their_way.saturating_sub(lines as u32);
    }

    /// A line is to be told of again.
    pub(super) fn put_back(&mut self, line: u32) {
        if self.request.is_some() {
            self.lines.insert(line);
        }
    }
}

/// Where the sweep is.
#[derive(Debug)]
pub(super) struct Sweep {
    lines: u32,
    cursor: u32,
    at: MonotonicNs,
    /// Lines times nanoseconds, less than a line.
    remainder: u128,
    due: u64,
    most_due: u64,
}

impl Sweep {
    pub(super) fn new(lines: u32, flush_interval: Duration, now: MonotonicNs) -> Self {
        let flushes = u128::from(lines) * (flush_interval * MAX_SWEEP_FLUSHES).as_nanos();
        let most_due =
            u64::try_from(flushes / SWEEP_PERIOD.as_nanos()).unwrap_or(u64::MAX).max(MAX_SWEEP_LINES);
        Self { lines, cursor: 0, at: now, remainder: 0, due: 0, most_due }
    }

    /// Time has passed: lines become due.
    pub(super) fn earn(&mut self, now: MonotonicNs) {
        let earned = u128::from(now.since(self.at)) * u128::from(self.lines) + self.remainder;
        self.at = now;
        self.remainder = earned % SWEEP_PERIOD.as_nanos();
        let earned = u64::try_from(earned / SWEEP_PERIOD.as_nanos()).unwrap_or(u64::MAX);
        self.due = self.due.saturating_add(earned).min(self.most_due);
    }

    /// The next line, when one is due.
    pub(super) fn take_next(&mut self) -> Option<u32> {
        self.due = self.due.checked_sub(1)?;
        let line = self.cursor;
        self.cursor = if line + 1 >= self.lines { 0 } else { line + 1 };
        (line < self.lines).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(served: &mut Served) -> Vec<u32> {
        let mut taken: ArrayVec<u32, 10> = ArrayVec::new();
        served.take_next(&mut taken, 10);
        taken.to_vec()
    }

    #[test]
    fn a_sync_tells_of_each_line_until_all_are_heard() {
        let mut served = Served::new(5);
        assert!(!served.is_done());
        served.ask(SyncId::new(7));
        assert_eq!(drain(&mut served), [0, 1, 2, 3, 4]);
        served.sent(5);
        assert!(!served.is_done());
        served.landed(5);
        served.put_back(3);
        assert!(!served.is_done());
        assert_eq!(drain(&mut served), [3]);
        assert!(served.is_done());
    }

    #[test]
    fn a_request_is_served_once_and_another_from_the_start() {
        let mut served = Served::new(3);
        served.ask(SyncId::new(7));
        drain(&mut served);
        served.ask(None);
        served.put_back(1);
        served.ask(SyncId::new(7));
        assert!(served.is_done());
        served.ask(SyncId::new(8));
        assert_eq!(drain(&mut served), [0, 1, 2]);
    }

    #[test]
    fn the_sweep_comes_by_each_line_once_a_period() {
        for lines in [1000, 5_000_000] {
            let interval = Duration::from_secs(1);
            let mut sweep = Sweep::new(lines, interval, MonotonicNs(0));
            let mut seen = vec![0; lines as usize];
            for step in 1..=600 {
                sweep.earn(MonotonicNs(0).after(interval * step));
                while let Some(line) = sweep.take_next() {
                    seen[line as usize] += 1;
                }
            }
            assert!(seen.iter().all(|times| *times == 1), "{lines} lines");
        }
    }

    #[test]
    fn a_table_without_lines_is_swept_too() {
        let mut sweep = Sweep::new(0, Duration::from_millis(20), MonotonicNs(0));
        sweep.earn(MonotonicNs(u64::MAX));
        assert_eq!(sweep.take_next(), None);
    }
}
