//! What the one thread that merges does to the table, while data threads go on charging.

use super::insert::Inserted;
use super::{BucketTable, MAX_ATTEMPTS, Replication, pause};
use crate::bucket::absent::{Absent, AbsentPeers};
use crate::bucket::change_log::{ChangeLog, change_log};
use crate::bucket::changes::{Change, ChangeMap};
use crate::bucket::hash::BucketId;
use crate::bucket::limits::Limits;
use crate::bucket::line::{Heard, Look, Merged, Reading, View};
use crate::bucket::slot_sums::SlotSums;
use crate::time::MonotonicNs;

impl BucketTable {
    /// The table as one of several nodes has it: it notes which buckets were charged, and counts from
    /// `epoch_ms` at monotonic zero on.
    ///
    /// The epoch, in milliseconds and below 2^43, must be above all that this node used in an earlier
    /// life: what it had then, and as many milliseconds as it lived.
    #[must_use]
    pub fn replicated(mut self, epoch_ms: u64) -> Self {
        self.epoch_ms = epoch_ms;
        let changes = ChangeMap::new(self.lines.len());
        let (logs, charged, absent) = (Vec::new(), SlotSums::new(), AbsentPeers::new());
        self.replication = Some(Box::new(Replication { changes, logs, charged, absent }));
        self
    }

    /// Logs for `threads` that charge, where the table is replicated: to note there what has changed costs less than
    /// to mark it for all to see.
    pub fn take_logs(&mut self, threads: usize) -> Vec<ChangeLog> {
        let Some(replication) = &mut self.replication else { return Vec::new() };
        let (logs, readers): (Vec<_>, Vec<_>) = (0..threads).map(|_| change_log()).unzip();
        replication.logs.extend(readers);
        logs
    }

    /// The bucket in a line, all of one moment; `None` when there is none.
    pub fn view(&self, line: usize) -> Option<View> {
        for attempt in 0..MAX_ATTEMPTS {
            match self.lines.get(line)?.view() {
                Look::Empty => return None,
                Look::Changing => pause(attempt),
                Look::Bucket(view) => return Some(view),
            }
        }
        None
    }

    /// The bucket in a line, its parts perhaps of different moments; `None` when there is none or it changes hands.
    pub(crate) fn glance(&self, line: usize) -> Option<Reading> {
        self.lines.get(line)?.read()
    }

    /// Raises the level of a bucket to at least `level` ticks of `limits`, and makes the bucket if there
    /// is none: what a snapshot said. Whether there was room.
    pub fn restore(&self, id: BucketId, limits: &Limits, level: u64, now: MonotonicNs) -> bool {
        // No peer has this column, so none is taken for known.
        self.merge(id, None, limits, UNKNOWN_COLUMN, now, |_, heard, own| {
            heard.tat.max(own.clock().at(now) + own.clock().from_fixed(limits.clock().to_fixed(level)))
        })
        .is_some()
    }

    /// Calls `changed` with all lines that were charged here since the last call, some at a time.
    ///
    /// Only for one thread.
    pub(crate) fn drain_changes(&self, mut changed: impl FnMut(&[Change])) {
        if let Some(replication) = &self.replication {
            replication.logs.iter().for_each(|log| log.drain(&mut changed));
            replication.changes.drain(changed);
        }
    }

    /// Tokens that were charged here in a slot, from some moment on; the sum wraps around.
    pub(crate) fn charged(&self, slot: u16) -> u64 {
        self.replication.as_ref().map_or(0, |replication| {
            let logged = replication.logs.iter().map(|log| log.charged(slot));
            logged.fold(replication.charged.get(slot), u64::wrapping_add)
        })
    }

    /// Marks a drained line as changed again, so that the next drain returns it. Only for the draining thread.
    pub(crate) fn change_again(&self, line: usize) {
        if let Some(replication) = &self.replication {
            replication.changes.mark(line, false);
        }
    }

    /// Sets what charges of a slot also do for absent peers.
    pub(crate) fn set_absent(&self, slot: u16, absent: Absent) {
        if let Some(replication) = &self.replication {
            replication.absent.set(slot, absent);
        }
    }

    /// Moves the level of a bucket to what `next` makes of its line, of what is known and of its limits,
    /// and notes that the counter of the peer in `column` is the owner's. A bucket that is not there is
    /// made, counted in `limits`. It is looked for in the line `hint` first. Returns the line, or `None` when
    /// there is no room.
    pub(crate) fn merge(
        &self,
        id: BucketId,
        hint: Option<usize>,
        limits: &Limits,
        column: u32,
        now: MonotonicNs,
        mut next: impl FnMut(usize, Heard, &Limits) -> u64,
    ) -> Option<usize> {
        for attempt in 0..MAX_ATTEMPTS {
            let hint = hint
                .filter(|line| attempt == 0 && self.lines.get(*line).is_some_and(|line| line.may_hold(id)));
            let Some(index) = hint.or_else(|| self.find(id)) else {
                match self.insert(id, limits, now) {
                    Inserted::Done => continue,
                    Inserted::Again => pause(attempt),
                    Inserted::Full => return None,
                }
                continue;
            };
            let merged = self.lines[index].merge(id, column, |heard| {
                if heard.slot == limits.slot() {
                    return next(index, heard, limits);
                }
                next(index, heard, self.slots.load().get(usize::from(heard.slot)).unwrap_or(limits))
            });
            match merged {
                Merged::Done => return Some(index),
                Merged::Again | Merged::Lost => pause(attempt),
            }
        }
        None
    }

    /// Moves the level of a bucket that is in `line`, is counted in `limits` and whose owner the peer in `column` is
    /// known to speak of; whether that could be done at once.
    #[inline]
    pub(crate) fn raise(
        &self,
        line: usize,
        id: BucketId,
        limits: &Limits,
        column: u32,
        next: impl FnOnce(u64) -> Option<u64>,
    ) -> bool {
        self.lines.get(line).is_some_and(|line| line.raise(id, limits, column, next))
    }

    /// Notes what was charged for absent peers by a charge that found `level`, both in 1/65536 of a token.
    pub(crate) fn note_phantom(&self, line: usize, charged: u64, level: u64) {
        self.lines[line].note_phantom(charged, level);
    }

    /// Sets what can be of what was charged for absent peers against `growth` of one that has `left` of it in its
    /// level, and says how much. The bucket has this `level`. All are in 1/65536 of a token.
    pub(crate) fn cover(&self, line: usize, growth: u64, left: u64, level: u64) -> u64 {
        self.lines[line].cover(growth, left, level)
    }

    /// Gives back what is left in the level of what was charged for absent peers.
    pub(crate) fn return_phantom(&self, line: usize, now: MonotonicNs) {
        let slots = self.slots.load();
        self.lines[line].return_phantom(|slot, tat, phantom| {
            slots.get(usize::from(slot)).map_or(tat, |limits| {
                let floor = limits.clock().at(now).min(tat);
                tat.saturating_sub(limits.clock().from_fixed(phantom)).max(floor)
            })
        });
    }
}

/// The column of the last bit there is, which no peer has.
pub(crate) const UNKNOWN_COLUMN: u32 = 15;
