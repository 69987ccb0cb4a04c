//! The table of buckets: fixed in size, shared by all threads without locks.
//!
//! A key has two candidate groups of eight lines, and a first line in each. It goes to the first line of
//! the first group, or, when that is taken, to the emptier group (two choices: Azar, Broder, Karlin, Upfal
//! 1994), so at a load of 3/4 fewer than one key in 2,000 finds no empty line, and most checks touch one.
//! Lines are never emptied, only taken over, so a look into a group that meets an empty line is done.
//!
//! `search` finds buckets and `insert` makes them, `charger` charges one, `batch` and `together` several, each on its
//! own or all or none, `merge` takes in what peers say, and `prefetch` is for those who touch many. Every loop has a
//! bound; past it the check is decided by `on_full`.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::absent::{Absent, AbsentPeers};
use super::change_log::LogReader;
use super::changes::ChangeMap;
use super::hash::BucketId;
use super::kept::KeptTable;
use super::limits::{self, Limits};
use super::line::{Line, Miss};
use super::memory::PageSlice;
use super::policy::PolicySet;
use super::slot_sums::SlotSums;
use super::sync::{AtomicU64, Ordering, has_atomic_pairs, nap, spin_loop, yield_now};
use super::tags::Tags;
use crate::time::MonotonicNs;

mod batch;
mod charger;
mod insert;
mod merge;
mod prefetch;
mod search;
mod together;

pub use super::change_log::ChangeLog;
pub use super::changes::Change;
pub use super::charge::Charge;
pub(crate) use super::line::Heard;
pub use super::line::{Reading, View};
pub use super::phantom::Phantom;
pub use charger::Charger;

/// Lines of one group: 512 bytes.
const GROUP: usize = if cfg!(loom) { 2 } else { 8 };
/// What a line takes with its tag.
pub const BYTES_PER_LINE: usize = size_of::<Line>() + 1;
/// So many tags, a byte each, stay in a core's caches beside what else is there: at 2^20 lines a batch that asks them
/// first takes a quarter less, at 2^24 a quarter more.
const NEAR_TAGS: usize = if cfg!(loom) { 0 } else { 1 << 20 };
/// Tries of one check before it is decided as if the table were full.
const MAX_ATTEMPTS: usize = if cfg!(loom) { 6 } else { 4096 };
/// From this try on a waiting thread lets others run: who it waits for may have been put off its core.
const SPINS: usize = 64;
/// From this try on it sleeps: who it waits for is off its core for longer than yielding covers.
const YIELDS: usize = 1024;
/// One such sleep. All that are left make a third of a second, many turns of any scheduler.
const NAP: Duration = Duration::from_micros(100);

/// The decision for a key that has no bucket and finds no room for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTableFull {
    /// Let it pass.
    #[default]
    Allow,
    /// Deny it.
    Deny,
}

/// How a table is made.
#[derive(Clone, Copy, Debug)]
pub struct TableConfig {
    /// Lines, a power of two, at least 16.
    pub lines: usize,
    /// What happens to keys that find no room.
    pub on_full: OnTableFull,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// One of the first x86-64 processors.
    #[error("this processor has no 16-byte compare-exchange (cmpxchg16b), which every bucket is charged by")]
    Processor,
    /// Not a power of two, or too few.
    #[error("a table of {0} lines: the number must be a power of two and at least 16")]
    BadSize(usize),
    /// The kernel refused.
    #[error(
        "cannot map {bytes} bytes for the table: {source}; lower [table] capacity or raise the memory limit"
    )]
    NoMemory {
        /// What was asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// One of several charges that are made together or not at all.
#[derive(Debug)]
pub struct BatchItem<'l> {
    id: BucketId,
    limits: &'l Limits,
    cost: u64,
    enforced: bool,
    /// What became of it. In a batch that was denied nothing is charged, and this says for each item
    /// whether it would have fitted after those of the same bucket before it.
    pub charge: Charge,
}

impl<'l> BatchItem<'l> {
    /// A charge of `cost` tokens; one that is not `enforced` (shadow) never holds the others up.
    #[must_use]
    pub fn new(id: BucketId, limits: &'l Limits, cost: u64, enforced: bool) -> Self {
        Self { id, limits, cost, enforced, charge: Charge::default() }
    }

    /// Whether it is charged when its batch is: all that are enforced are, since they all fit then.
    const fn would_charge(&self) -> bool {
        self.enforced || self.charge.allowed
    }

    /// Whether its tokens were taken from a bucket.
    const fn has_charged(&self) -> bool {
        self.charge.allowed && !self.charge.table_full && self.cost != 0
    }
}

/// Counts of a table, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Lines in all.
    pub lines: u64,
    /// Lines that have ever been used.
    pub occupied: u64,
    /// Buckets made.
    pub inserts: u64,
    /// Buckets that gave way to others.
    pub evictions: u64,
    /// Checks decided for want of room.
    pub full: u64,
}

/// The buckets of a node.
#[derive(Debug)]
pub struct BucketTable {
    lines: PageSlice<Line>,
    tags: Tags<GROUP>,
    /// Whether the tags stay in the cache, so that asking them first costs less than guessing.
    tags_are_near: bool,
    /// What keeps the lines when the process is gone, and is told what slots mean.
    kept: Option<Arc<KeptTable>>,
    groups: usize,
    on_full: OnTableFull,
    /// The limits by slot, for lines whose slot is not that of the check at hand.
    slots: ArcSwap<Vec<Limits>>,
    /// The epoch at monotonic zero, in milliseconds.
    epoch_ms: u64,
    replication: Option<Box<Replication>>,
    counts: Counts,
}

/// What happened to the table. Apart from all that checks read, which a flood of new keys would take from the other
/// cores with each count; in two cache lines, which the prefetcher fetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    occupied: AtomicU64,
    inserts: AtomicU64,
    evictions: AtomicU64,
    full: AtomicU64,
}

/// What a table that is replicated has besides.
#[derive(Debug)]
struct Replication {
    changes: ChangeMap,
    /// Those of threads that note by themselves what they change.
    logs: Vec<LogReader>,
    /// By threads without a log.
    charged: SlotSums,
    absent: AbsentPeers,
}

impl BucketTable {
    /// An empty table.
    ///
    /// # Errors
    /// When the size is no power of two, there is no memory, or the processor lacks what is needed.
    pub fn new(config: TableConfig) -> Result<Self, TableError> {
        check(config.lines)?;
        let lines = PageSlice::new(config.lines).map_err(|source| no_memory(config, source))?;
        Self::of_lines(lines, config)
    }

    /// An empty table in the memory of `kept`, which is empty and was made for as many lines.
    ///
    /// # Errors
    /// When the size is no power of two, or not that of the memory, or the processor lacks what is needed.
    pub fn kept(config: TableConfig, kept: Arc<KeptTable>) -> Result<Self, TableError> {
        check(config.lines)?;
        let lines = kept.lines();
        if lines.len() != config.lines {
            return Err(TableError::BadSize(lines.len()));
        }
        Ok(Self { kept: Some(kept), ..Self::of_lines(lines, config)? })
    }

    fn of_lines(lines: PageSlice<Line>, config: TableConfig) -> Result<Self, TableError> {
        Ok(Self {
            lines,
            tags: Tags::new(config.lines).map_err(|source| no_memory(config, source))?,
            tags_are_near: config.lines <= NEAR_TAGS,
            kept: None,
            groups: config.lines / GROUP,
            on_full: config.on_full,
            slots: ArcSwap::default(),
            epoch_ms: 0,
            replication: None,
            counts: Counts::default(),
        })
    }

    /// The same, looked into as a table is whose tags are too many for the cache.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn with_far_tags(self) -> Self {
        Self { tags_are_near: false, ..self }
    }

    /// Takes all of the table's memory from the kernel now: no check waits for a page that is touched for the first
    /// time, and what is short is short before the first check. No bucket changes.
    ///
    /// # Errors
    /// When the kernel has not so much, or is older than Linux 5.14.
    pub fn populate(&self) -> io::Result<()> {
        self.lines.populate()?;
        self.tags.populate()
    }

    /// Makes the limits of a set known, so that buckets of other limits can be evicted and carried
    /// over. To be called before any thread checks under the set.
    pub fn publish_limits(&self, policies: &PolicySet) {
        if let Some(kept) = &self.kept {
            kept.write_limits(policies);
        }
        self.slots.store(Arc::new(policies.slots().to_vec()));
    }

    /// Charges `cost` tokens to a bucket if they fit, and makes the bucket if there is none. A cost
    /// of zero only looks.
    #[inline]
    pub fn charge(&self, id: BucketId, limits: &Limits, cost: u64, now: MonotonicNs) -> Charge {
        self.charger(None).charge(id, limits, cost, now)
    }

    /// The table as a thread charges it that notes in `log`, if it has one, what has changed.
    #[must_use]
    #[inline]
    pub const fn charger<'t>(&'t self, log: Option<&'t ChangeLog>) -> Charger<'t> {
        Charger { table: self, log }
    }

    /// Does something on the line of a bucket, in the ticks of `limits`; `None` when there is no such bucket.
    fn on_line<T>(
        &self,
        id: BucketId,
        limits: &Limits,
        now: MonotonicNs,
        act: impl Fn(&Line) -> Result<T, Miss>,
    ) -> Option<T> {
        for attempt in 0..MAX_ATTEMPTS {
            let line = &self.lines[self.find(id)?];
            match act(line) {
                Ok(done) => return Some(done),
                Err(miss) => self.mend(miss, line, id, limits, now, attempt),
            }
        }
        None
    }

    /// Does what another attempt on a line waits for.
    fn mend(&self, miss: Miss, line: &Line, id: BucketId, limits: &Limits, now: MonotonicNs, attempt: usize) {
        match miss {
            Miss::OtherSlot(slot) => self.change_slot(line, id, slot, limits, now),
            Miss::Lost => pause(attempt),
        }
    }

    /// What charges under `limits` also do for absent peers.
    #[inline]
    pub(crate) fn absent(&self, limits: &Limits) -> Absent {
        self.replication.as_ref().map_or(Absent::NONE, |replication| replication.absent.of(limits.slot()))
    }

    /// The level of a bucket in ticks of `limits`, if it is there.
    pub fn level(&self, id: BucketId, limits: &Limits, now: MonotonicNs) -> Option<u64> {
        let now_ticks = limits.clock().at(now);
        let decided =
            self.on_line(id, limits, now, |line| line.charge(id, limits, 0, Absent::NONE, now_ticks))?;
        Some(decided.level)
    }

    /// Forgets the level of a bucket, which is full then; `false` when there is no such bucket.
    ///
    /// It does what time would have done, only at once: this node's counter and those of its peers stay,
    /// so what was heard of them is not charged again, and what is heard next is. What was charged for
    /// peers that cannot be heard is not in the level any more and is not given back either.
    pub fn forget_level(&self, id: BucketId) -> bool {
        for attempt in 0..MAX_ATTEMPTS {
            let Some(index) = self.find(id) else { return false };
            if self.lines[index].forget_level(id) {
                return true;
            }
            pause(attempt);
        }
        false
    }

    /// Counts so far.
    pub fn stats(&self) -> TableStats {
        // Relaxed: sums for people, read one by one.
        let Counts { occupied, inserts, evictions, full } = &self.counts;
        TableStats {
            lines: self.lines.len() as u64,
            occupied: occupied.load(Ordering::Relaxed),
            inserts: inserts.load(Ordering::Relaxed),
            evictions: evictions.load(Ordering::Relaxed),
            full: full.load(Ordering::Relaxed),
        }
    }

    /// Lines in all.
    pub fn len_lines(&self) -> usize {
        self.lines.len()
    }

    /// Calls `seen` with each live bucket in a range of lines.
    pub fn visit(&self, range: Range<usize>, seen: impl FnMut(Reading)) {
        let end = range.end.min(self.lines.len());
        self.lines[range.start.min(end)..end].iter().filter_map(Line::read).for_each(seen);
    }

    /// Tokens that a bucket has admitted since it was made.
    pub fn used(&self, id: BucketId) -> Option<u64> {
        self.lines[self.find(id)?].read().map(|reading| reading.used)
    }

    /// The line that holds a bucket.
    pub(crate) fn line(&self, id: BucketId) -> Option<usize> {
        self.find(id)
    }

    fn change_slot(&self, line: &Line, id: BucketId, slot: u16, limits: &Limits, now: MonotonicNs) {
        let slots = self.slots.load();
        let base = limits.clock().at(now);
        line.change_slot(id, slot, limits.slot(), |tat| {
            slots
                .get(usize::from(slot))
                .map_or(0, |old| base + limits::convert_level(limits::level_at(tat, old, now), old, limits))
        });
    }

    fn decide_without_bucket(&self, limits: &Limits, cost: u64) -> Charge {
        self.counts.full.fetch_add(1, Ordering::Relaxed);
        let allowed = self.on_full == OnTableFull::Allow || cost == 0;
        let wait = if allowed { 0 } else { limits.clock().ticks(cost) };
        Charge { allowed, level: 0, wait, table_full: true }
    }
}

fn check(lines: usize) -> Result<(), TableError> {
    if !has_atomic_pairs() {
        return Err(TableError::Processor);
    }
    let fits = lines.is_power_of_two() && lines >= 2 * GROUP;
    fits.then_some(()).ok_or(TableError::BadSize(lines))
}

fn no_memory(config: TableConfig, source: io::Error) -> TableError {
    TableError::NoMemory { bytes: config.lines.saturating_mul(BYTES_PER_LINE), source }
}

fn pause(attempt: usize) {
    match attempt {
        ..SPINS => spin_loop(),
        SPINS..YIELDS => yield_now(),
        _ => nap(NAP),
    }
}
