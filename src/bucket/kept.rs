//! A table in memory that outlives the process: a header, the limits by slot, the lines.
//!
//! The next process does not go on with it in place: it reads it once as it would a snapshot, bucket by
//! bucket, and only when program, key and boot are the same. So nothing depends on where the former
//! process was when it ended: a line that was changing hands is passed over, any other is whole, since
//! level and owner of a live line always agree.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::gcra::{Rate, TokenClock};
use super::hash::BucketId;
use super::limits::Limits;
use super::line::{Line, Look};
use super::memory::PageSlice;
use super::policy::{Owner, PolicySet};
use crate::memory::SharedPages;
use crate::time::MonotonicNs;

const MAGIC: u64 = u64::from_le_bytes(*b"OCRTABLE");
/// To be raised with every change of [`Line`], of how it is used, or of this file.
const LAYOUT: u64 = 3;
const HEADER_WORDS: usize = 8;
const SLOTS_AT: usize = 4096;
const SLOTS: usize = 1 << 16;
const SLOT_WORDS: usize = 8;
const WORD_BYTES: usize = size_of::<u64>();
/// On a boundary of huge pages.
const LINES_AT: usize = 6 << 20;
const _: () = assert!(SLOTS_AT + SLOTS * SLOT_WORDS * WORD_BYTES <= LINES_AT);

/// Whose table it is, and what its times mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// A print of the key that names buckets.
    pub key_print: [u8; 16],
    /// The boot of the host.
    pub boot_id: [u8; 16],
    /// Where on `CLOCK_MONOTONIC` of the host the clock of the table has its zero.
    pub origin_ns: u64,
}

/// Why a kept table is not read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be mapped.
    #[error("it cannot be mapped: {0}")]
    Map(#[from] io::Error),
    /// Something else is in the memory, or the process ended before it was set up.
    #[error("it is no table of openclaw-rating")]
    NotATable,
    /// Of another version of the program.
    #[error("it has layout {0}, and this program reads layout {LAYOUT}")]
    Layout(u64),
    /// Cut off.
    #[error("it has no room for the {0} lines that it claims")]
    Short(u64),
    /// Made under another key.
    #[error("it was made under another cluster secret or hash key")]
    Foreign,
    /// Its times mean nothing here.
    #[error("it is of another boot of this host")]
    OtherBoot,
}

/// A bucket that is not full, as it was found in a kept table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptBucket {
    /// The policy: a hash of its name.
    pub policy: u64,
    /// The bucket.
    pub id: BucketId,
    /// What has been used and has not drained, in 1/65536 of a token.
    pub level: u64,
}

/// The memory of a table, and the file that keeps it.
#[derive(Debug)]
pub struct KeptTable {
    pages: Arc<SharedPages>,
    file: OwnedFd,
}

impl KeptTable {
    /// Memory for `lines` empty lines.
    ///
    /// # Errors
    /// When the kernel does not give that much.
    pub fn create(lines: usize, provenance: &Provenance) -> io::Result<Self> {
        let bytes = lines.checked_mul(size_of::<Line>()).and_then(|bytes| bytes.checked_add(LINES_AT));
        let (pages, file) = SharedPages::create("openclaw-rating", bytes.ok_or(io::ErrorKind::OutOfMemory)?)?;
        let table = Self { pages: Arc::new(pages), file };
        let [key_low, key_high] = halves(provenance.key_print);
        let [boot_low, boot_high] = halves(provenance.boot_id);
        let after = [LAYOUT, lines as u64, key_low, key_high, boot_low, boot_high, provenance.origin_ns];
        let header = table.header();
        header[1..].iter().zip(after).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        // The last: a header that is half written is none.
        header[0].store(MAGIC, Ordering::Release);
        Ok(table)
    }

    /// The table in `file`, which an earlier process made.
    ///
    /// # Errors
    /// When it is none that this program can read.
    pub fn open(file: OwnedFd) -> Result<Self, KeptError> {
        let pages = SharedPages::open(file.as_fd())?;
        if pages.bytes() < LINES_AT {
            return Err(KeptError::NotATable);
        }
        let table = Self { pages: Arc::new(pages), file };
        let [magic, layout, lines] = [0, 1, 2].map(|word| table.header()[word].load(Ordering::Acquire));
        if magic != MAGIC {
            return Err(KeptError::NotATable);
        }
        if layout != LAYOUT {
            return Err(KeptError::Layout(layout));
        }
        let room = (table.pages.bytes() - LINES_AT) / size_of::<Line>();
        if lines > room as u64 {
            return Err(KeptError::Short(lines));
        }
        Ok(table)
    }

    /// The file to keep.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Calls `each` with every bucket that is not full at `host_ns` of `CLOCK_MONOTONIC`, and says how many
    /// there were. To be called when the process that wrote it has ended.
    ///
    /// # Errors
    /// When the table is not of `here`; its origin does not matter.
    pub fn read(
        &self,
        here: &Provenance,
        host_ns: u64,
        mut each: impl FnMut(KeptBucket),
    ) -> Result<u64, KeptError> {
        let found = self.provenance();
        if found.key_print != here.key_print {
            return Err(KeptError::Foreign);
        }
        if found.boot_id != here.boot_id || here.boot_id == [0; 16] {
            return Err(KeptError::OtherBoot);
        }
        let now = MonotonicNs(host_ns.saturating_sub(found.origin_ns));
        let slots: Vec<Option<(u64, TokenClock)>> = (0..SLOTS).map(|slot| self.slot(slot)).collect();
        let mut buckets = 0;
        for line in self.lines().iter() {
            let Look::Bucket(view) = line.view() else { continue };
            let Some((policy, clock)) = slots[usize::from(view.slot)] else { continue };
            let level = view.tat.saturating_sub(clock.at(now));
            if level > 0 {
                buckets += 1;
                each(KeptBucket { policy, id: view.id, level: clock.to_fixed(level) });
            }
        }
        Ok(buckets)
    }

    /// The lines.
    pub(super) fn lines(&self) -> PageSlice<Line> {
        let lines = self.header()[2].load(Ordering::Relaxed) as usize;
        PageSlice::within(&self.pages, LINES_AT, lines)
    }

    /// Writes what the slots of `policies` mean. To be called before any line is counted in them.
    pub(super) fn write_limits(&self, policies: &PolicySet) {
        for limits in policies.slots() {
            if let Some(owner) = policies.owner(limits.slot()) {
                self.write_slot(limits, owner);
            }
        }
    }

    fn write_slot(&self, limits: &Limits, owner: Owner) {
        let words = slot_words(limits, owner);
        let entry = self.slot_entry(usize::from(limits.slot()));
        if entry.iter().zip(words).all(|(word, value)| word.load(Ordering::Relaxed) == value) {
            return;
        }
        // A process that ends in between leaves a wrong check behind, and the slot means nothing then.
        entry[SLOT_WORDS - 1].store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        for (word, value) in entry[..SLOT_WORDS - 1].iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        entry[SLOT_WORDS - 1].store(words[SLOT_WORDS - 1], Ordering::Release);
    }

    /// The policy that a slot is of, and the clock of its limits.
    fn slot(&self, slot: usize) -> Option<(u64, TokenClock)> {
        let words: Vec<u64> = self.slot_entry(slot).iter().map(|word| word.load(Ordering::Acquire)).collect();
        let [policy, tokens, per_ns, origin_ns, origin_ticks, bits, 0, check] = words[..] else {
            return None;
        };
        if check != check_of(&words) {
            return None;
        }
        let rate = Rate::new(tokens, per_ns).ok()?;
        let bits = u32::try_from(bits).ok()?;
        Some((policy, TokenClock::resume(rate, MonotonicNs(origin_ns), origin_ticks, bits)?))
    }

    fn provenance(&self) -> Provenance {
        let word = |at: usize| self.header()[at].load(Ordering::Relaxed);
        let joined = |at| (u128::from(word(at)) | u128::from(word(at + 1)) << 64).to_le_bytes();
        Provenance { key_print: joined(3), boot_id: joined(5), origin_ns: word(7) }
    }

    fn header(&self) -> &[AtomicU64] {
        self.words(0, HEADER_WORDS)
    }

    fn slot_entry(&self, slot: usize) -> &[AtomicU64] {
        self.words(SLOTS_AT + slot * SLOT_WORDS * WORD_BYTES, SLOT_WORDS)
    }

    fn words(&self, at: usize, count: usize) -> &[AtomicU64] {
        assert!(at.is_multiple_of(WORD_BYTES) && at + count * WORD_BYTES <= LINES_AT);
        // SAFETY: the range is inside of the mapping, whose length is at least `LINES_AT`, and aligned; it is
        // only ever read and written through atomics, of which any bytes are valid values; the mapping lives
        // as long as `self`.
        unsafe { std::slice::from_raw_parts(self.pages.start().add(at).cast(), count) }
    }
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let word = u128::from_le_bytes(bytes);
    [word as u64, (word >> 64) as u64]
}

fn slot_words(limits: &Limits, owner: Owner) -> [u64; SLOT_WORDS] {
    let (tokens, per_ns) = limits.rate().ratio();
    let (origin, origin_ticks) = limits.clock().origin();
    let bits = u64::from(limits.clock().fraction_bits());
    let mut words = [owner.limits, tokens, per_ns, origin.0, origin_ticks, bits, 0, 0];
    words[SLOT_WORDS - 1] = check_of(&words);
    words
}

/// Never zero, so that memory nobody wrote to is no slot.
fn check_of(words: &[u64]) -> u64 {
    let mixed = |check: u64, word: &u64| (check ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    words[..SLOT_WORDS - 1].iter().fold(MAGIC, mixed) | 1
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::bucket::hash::KeyHasher;
    use crate::bucket::spec::{LimitSpec, PolicySpec};
    use crate::bucket::table::{BucketTable, OnTableFull, TableConfig};

    const HERE: Provenance = Provenance { key_print: [1; 16], boot_id: [2; 16], origin_ns: 1_000 };
    const LINES: usize = 64;
    const SECOND_NS: u64 = 1_000_000_000;

    fn spec(name: &str, rate: u64) -> PolicySpec {
        PolicySpec::new(name, LimitSpec::per_second(rate, 100).unwrap())
    }

    fn policies(rates: &[u64]) -> PolicySet {
        let specs: Vec<PolicySpec> =
            rates.iter().enumerate().map(|(number, rate)| spec(&format!("p{number}"), *rate)).collect();
        PolicySet::new(&specs, &KeyHasher::new([7; 16]), MonotonicNs(0)).unwrap()
    }

    fn table(kept: &Arc<KeptTable>, policies: &PolicySet) -> BucketTable {
        let config = TableConfig { lines: LINES, on_full: OnTableFull::Allow };
        let table = BucketTable::kept(config, Arc::clone(kept)).unwrap();
        table.publish_limits(policies);
        table
    }

    fn charge(table: &BucketTable, policies: &PolicySet, name: &str, key: &[u8], cost: u64, now: u64) {
        let policy = policies.find(name.as_bytes()).unwrap();
        let id = policies.bucket_id(policy, key);
        assert!(table.charge(id, policy.limits_for(key), cost, MonotonicNs(now)).allowed);
    }

    fn reopened(kept: &KeptTable) -> KeptTable {
        KeptTable::open(kept.file().try_clone_to_owned().unwrap()).unwrap()
    }

    fn levels(kept: &KeptTable, host_ns: u64) -> Vec<u64> {
        let mut levels = Vec::new();
        let count = kept.read(&HERE, host_ns, |bucket| levels.push(bucket.level >> 16)).unwrap();
        assert_eq!(count, levels.len() as u64);
        levels.sort_unstable();
        levels
    }

    #[test]
    fn what_was_spent_is_read_back_less_what_drained_by_the_clock_of_the_host() {
        let kept = Arc::new(KeptTable::create(LINES, &HERE).unwrap());
        let policies = policies(&[1, 10]);
        let table = table(&kept, &policies);
        charge(&table, &policies, "p0", b"a", 30, 0);
        charge(&table, &policies, "p1", b"b", 60, 0);
        drop(table);
        assert_eq!(levels(&reopened(&kept), HERE.origin_ns), [30, 60]);
        assert_eq!(levels(&reopened(&kept), HERE.origin_ns + 5 * SECOND_NS), [10, 25]);
        assert_eq!(levels(&reopened(&kept), HERE.origin_ns + 10 * SECOND_NS), [20]);
    }

    #[test]
    fn a_reload_changes_what_a_slot_means_and_the_level_stays_right() {
        let kept = Arc::new(KeptTable::create(LINES, &HERE).unwrap());
        let first = policies(&[1]);
        let table = table(&kept, &first);
        charge(&table, &first, "p0", b"a", 50, 0);
        let second = first.reload(&[spec("p0", 20)], MonotonicNs(10 * SECOND_NS)).unwrap();
        table.publish_limits(&second);
        // Ten seconds at 1/s, then one at 20/s.
        assert_eq!(levels(&reopened(&kept), HERE.origin_ns + 11 * SECOND_NS), [20]);
    }

    #[test]
    fn a_table_of_another_key_boot_or_program_is_refused_and_so_is_anything_else() {
        let kept = KeptTable::create(LINES, &HERE).unwrap();
        let read = |here: Provenance| kept.read(&here, 0, |_| panic!("it is not to be read"));
        assert!(matches!(read(Provenance { key_print: [9; 16], ..HERE }), Err(KeptError::Foreign)));
        assert!(matches!(read(Provenance { boot_id: [9; 16], ..HERE }), Err(KeptError::OtherBoot)));
        let nameless = Provenance { boot_id: [0; 16], ..HERE };
        let unknown = KeptTable::create(LINES, &nameless).unwrap();
        assert!(matches!(unknown.read(&nameless, 0, |_| {}), Err(KeptError::OtherBoot)));

        let open = || KeptTable::open(kept.file().try_clone_to_owned().unwrap()).map(|_| ());
        kept.header()[2].store(LINES as u64 + 1, Ordering::Relaxed);
        assert!(matches!(open(), Err(KeptError::Short(_))));
        kept.header()[1].store(LAYOUT + 1, Ordering::Relaxed);
        assert!(matches!(open(), Err(KeptError::Layout(_))));
        kept.header()[0].store(0, Ordering::Relaxed);
        assert!(matches!(open(), Err(KeptError::NotATable)));
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        assert!(
            matches!(KeptTable::open(file), Err(KeptError::Map(_))),
            "a file that can shrink is not mapped"
        );
    }

    #[test]
    fn a_slot_that_was_being_written_and_a_line_that_was_changing_hands_are_passed_over() {
        let kept = Arc::new(KeptTable::create(LINES, &HERE).unwrap());
        let policies = policies(&[1, 1]);
        let table = table(&kept, &policies);
        charge(&table, &policies, "p0", b"a", 30, 0);
        charge(&table, &policies, "p1", b"b", 60, 0);
        kept.slot_entry(0)[3].store(77, Ordering::Relaxed);
        assert_eq!(levels(&kept, HERE.origin_ns), [60]);
        let lines = kept.lines();
        let reserved =
            lines.iter().find_map(|line| line.reserve(1, |_, _| true).filter(|pair| pair.count > 60));
        assert!(reserved.is_some());
        assert!(levels(&kept, HERE.origin_ns).len() <= 1);
    }

    #[test]
    fn a_clock_with_parts_that_no_clock_has_is_none() {
        let rate = Rate::new(1, SECOND_NS).unwrap();
        assert!(TokenClock::resume(rate, MonotonicNs(0), 0, 99).is_none());
        assert!(TokenClock::resume(rate, MonotonicNs(0), u64::MAX, 30).is_none());
        let clock = TokenClock::new(rate, MonotonicNs(5));
        let (origin, ticks) = clock.origin();
        assert_eq!(TokenClock::resume(rate, origin, ticks, clock.fraction_bits()), Some(clock));
    }
}
