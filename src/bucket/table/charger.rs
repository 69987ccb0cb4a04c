//! Charges of one bucket, as one thread makes them.

use super::insert::Inserted;
use super::{BucketTable, Charge, MAX_ATTEMPTS, pause};
use crate::bucket::absent::Absent;
use crate::bucket::change_log::ChangeLog;
use crate::bucket::gcra::{self, Verdict};
use crate::bucket::hash::BucketId;
use crate::bucket::limits::Limits;
use crate::bucket::line::{Decision, Line, Prepared};
use crate::bucket::sync::Pair;
use crate::time::MonotonicNs;

/// A charge that one look at a line can decide, and one exchange make. `now` is in ticks.
#[inline]
pub(super) fn charge_plainly(
    line: &Line,
    id: BucketId,
    limits: &Limits,
    cost: u64,
    absent: impl Fn() -> Absent,
    now: u64,
) -> Option<Charge> {
    let Prepared { seen, verdict } = line.prepare(id, limits, cost, now)?;
    match verdict {
        Verdict::Denied { wait } => {
            let level = gcra::level(seen.tat, now);
            line.has(seen).then_some(Charge { allowed: false, level, wait, table_full: false })
        }
        Verdict::Allowed { tat } => {
            let (next, level) = (Pair { tat, count: seen.count + cost }, tat - now);
            let charged = absent().is_none() && line.exchange(seen, next);
            charged.then_some(Charge { allowed: true, level, wait: 0, table_full: false })
        }
    }
}

/// A table as one thread charges it.
#[derive(Clone, Copy, Debug)]
pub struct Charger<'t> {
    pub(super) table: &'t BucketTable,
    /// Where the thread notes which lines it has changed, of a table that is replicated.
    pub(super) log: Option<&'t ChangeLog>,
}

impl<'t> Charger<'t> {
    /// The table, for those who only look.
    #[must_use]
    pub const fn table(&self) -> &'t BucketTable {
        self.table
    }

    /// Charges `cost` tokens to a bucket if they fit, and makes the bucket if there is none. A cost
    /// of zero only looks.
    #[inline]
    #[must_use]
    pub fn charge(&self, id: BucketId, limits: &Limits, cost: u64, now: MonotonicNs) -> Charge {
        self.charge_with(id, limits, cost, || self.table.absent(limits), now)
    }

    /// The same, and with it what `absent` says of peers that cannot be heard.
    #[inline]
    pub(super) fn charge_with(
        &self,
        id: BucketId,
        limits: &Limits,
        cost: u64,
        absent: impl Fn() -> Absent,
        now: MonotonicNs,
    ) -> Charge {
        let line = self.table.likely_line(id);
        match charge_plainly(&self.table.lines[line], id, limits, cost, &absent, limits.clock().at(now)) {
            Some(charge) => {
                if charge.allowed {
                    self.note_charged(line, limits, charge.level, cost);
                }
                charge
            }
            None => self.charge_step_by_step(id, limits, cost, absent(), now),
        }
    }

    /// A charge of any kind. Out of line, so that the plain kind has only its own registers to save.
    #[inline(never)]
    pub(super) fn charge_step_by_step(
        &self,
        id: BucketId,
        limits: &Limits,
        cost: u64,
        absent: Absent,
        now: MonotonicNs,
    ) -> Charge {
        let now_ticks = limits.clock().at(now);
        for attempt in 0..MAX_ATTEMPTS {
            match self.table.find(id) {
                Some(index) => match self.table.lines[index].charge(id, limits, cost, absent, now_ticks) {
                    Ok(Decision { allowed, level, wait }) => {
                        if allowed && cost != 0 {
                            self.note_charged(index, limits, level, cost);
                        }
                        return Charge { allowed, level, wait, table_full: false };
                    }
                    Err(miss) => self.table.mend(miss, &self.table.lines[index], id, limits, now, attempt),
                },
                None if cost == 0 => return Charge { allowed: true, ..Charge::default() },
                None => match self.table.insert(id, limits, now) {
                    Inserted::Done => {}
                    Inserted::Again => pause(attempt),
                    Inserted::Full => break,
                },
            }
        }
        self.table.decide_without_bucket(limits, cost)
    }

    /// Whether there are peers to note something for.
    #[inline]
    pub(super) const fn is_noting(&self) -> bool {
        self.log.is_some() || self.table.replication.is_some()
    }

    /// Notes for the peers that this thread has just charged tokens to a line, up to a level.
    #[inline]
    pub(super) fn note_charged(&self, line: usize, limits: &Limits, level: u64, tokens: u64) {
        let (is_near_limit, slot) = (limits.is_near(level), limits.slot());
        if let Some(log) = self.log {
            log.add_charged(slot, tokens);
            if log.note(line, is_near_limit) {
                return;
            }
        }
        if let Some(replication) = &self.table.replication {
            if self.log.is_none() {
                replication.charged.add(slot, tokens);
            }
            replication.changes.mark(line, is_near_limit);
        }
    }
}
