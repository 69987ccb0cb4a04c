//! Lines that one thread has charged, in order, for the one that tells of them: a ring of numbers.
//!
//! To mark a line in the [map](super::changes) takes two locked instructions, and to take the mark one. Here it is a
//! store at either side. A line that is charged twice is noted twice.

use std::cell::Cell;
use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;

use super::changes::Change;
use super::slot_sums::SlotSums;
use super::sync::{AtomicU32, Ordering};

/// Notes of a ring: what a thread charges in 30 milliseconds at two million checks a second. Past it, lines are marked.
const NOTES: usize = if cfg!(loom) { 2 } else { 1 << 16 };
/// Notes that are taken together.
const TAKEN_TOGETHER: usize = 256;
/// The bit of a note that is about a line near its limit; the others are the line.
const URGENT: u32 = 1 << 31;

/// The ring. Places are counted on, and wrap around.
#[derive(Debug)]
struct Ring {
    notes: Box<[AtomicU32]>,
    /// Past the last that was written.
    end: CachePadded<AtomicU32>,
    /// The first that was not taken.
    start: CachePadded<AtomicU32>,
    charged: SlotSums,
}

impl Ring {
    const fn slot(place: u32) -> usize {
        place as usize % NOTES
    }
}

/// The side of the thread that charges.
#[derive(Debug)]
pub struct ChangeLog {
    ring: Arc<Ring>,
    /// As it was in the ring when last looked at.
    start: Cell<u32>,
}

/// The side of the thread that tells.
#[derive(Debug)]
pub(crate) struct LogReader {
    ring: Arc<Ring>,
}

/// An empty log.
pub(crate) fn change_log() -> (ChangeLog, LogReader) {
    let ring = Arc::new(Ring {
        notes: (0..NOTES).map(|_| AtomicU32::new(0)).collect(),
        end: CachePadded::new(AtomicU32::new(0)),
        start: CachePadded::new(AtomicU32::new(0)),
        charged: SlotSums::new(),
    });
    (ChangeLog { ring: Arc::clone(&ring), start: Cell::new(0) }, LogReader { ring })
}

impl ChangeLog {
    /// Adds up tokens that this thread has charged.
    #[inline]
    pub(crate) fn add_charged(&self, slot: u16, tokens: u64) {
        self.ring.charged.add_alone(slot, tokens);
    }

    /// Notes a line whose pair this thread has just exchanged; `false` when it cannot be noted here.
    #[inline]
    #[must_use]
    pub(crate) fn note(&self, line: usize, is_urgent: bool) -> bool {
        // Relaxed: no other thread writes it.
        let end = self.ring.end.load(Ordering::Relaxed);
        if line >= URGENT as usize || (self.is_full(end) && self.is_still_full(end)) {
            return false;
        }
        let note = line as u32 | if is_urgent { URGENT } else { 0 };
        // Relaxed, since the end is stored after it.
        self.ring.notes[Ring::slot(end)].store(note, Ordering::Relaxed);
        // Release: who sees the note sees the pair too.
        self.ring.end.store(end.wrapping_add(1), Ordering::Release);
        true
    }

    fn is_full(&self, end: u32) -> bool {
        end.wrapping_sub(self.start.get()) as usize >= NOTES
    }

    #[cold]
    fn is_still_full(&self, end: u32) -> bool {
        // Acquire: what is overwritten has been read.
        self.start.set(self.ring.start.load(Ordering::Acquire));
        self.is_full(end)
    }
}

impl LogReader {
    /// Tokens that were charged in a slot since the log was made.
    pub(crate) fn charged(&self, slot: u16) -> u64 {
        self.ring.charged.get(slot)
    }

    /// Takes the notes there are: calls `changed` with some at a time, in order.
    pub(crate) fn drain(&self, mut changed: impl FnMut(&[Change])) {
        // Once, so that it ends however fast the other side is.
        let end = self.ring.end.load(Ordering::Acquire);
        // Relaxed: no other thread writes it.
        let mut start = self.ring.start.load(Ordering::Relaxed);
        let mut taken: ArrayVec<Change, TAKEN_TOGETHER> = ArrayVec::new();
        while start != end {
            let some = (end.wrapping_sub(start) as usize).min(TAKEN_TOGETHER) as u32;
            taken.extend((0..some).map(|place| self.read(start.wrapping_add(place))));
            start = start.wrapping_add(some);
            self.ring.start.store(start, Ordering::Release);
            changed(&taken);
            taken.clear();
        }
    }

    fn read(&self, place: u32) -> Change {
        let note = self.ring.notes[Ring::slot(place)].load(Ordering::Relaxed);
        Change { line: note & !URGENT, is_urgent: note & URGENT != 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::bucket::changes::drained;
    use proptest::prelude::*;

    fn drain(reader: &LogReader) -> Vec<(u32, bool)> {
        drained(|changed| reader.drain(changed))
    }

    #[test]
    fn what_was_noted_is_told_once_and_in_order() {
        let (log, reader) = change_log();
        for (line, is_urgent) in [(7, false), (7, true), (0, false), (URGENT as usize - 1, true)] {
            assert!(log.note(line, is_urgent));
        }
        assert_eq!(drain(&reader), [(7, false), (7, true), (0, false), (URGENT - 1, true)]);
        assert!(drain(&reader).is_empty());
    }

    #[test]
    fn a_line_whose_number_is_too_large_is_not_noted() {
        let (log, reader) = change_log();
        assert!(!log.note(URGENT as usize, false) && !log.note(u32::MAX as usize, false));
        assert!(drain(&reader).is_empty());
    }

    #[test]
    fn a_full_log_takes_nothing_until_it_was_drained_and_goes_on_past_the_end_of_its_count() {
        let (log, reader) = change_log();
        for place in [&log.ring.end, &log.ring.start] {
            place.store(u32::MAX - 5, Ordering::Relaxed);
        }
        log.start.set(u32::MAX - 5);
        for _ in 0..3 {
            assert!((0..NOTES).all(|line| log.note(line, false)));
            assert!(!log.note(1, true));
            assert!(drain(&reader).into_iter().eq((0..NOTES as u32).map(|line| (line, false))));
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_repeated(steps in proptest::collection::vec(0_usize..1000, 0..300)) {
            let (log, reader) = change_log();
            let (mut noted, mut told) = (vec![], vec![]);
            for count in steps {
                if count % 3 == 0 {
                    told.extend(drain(&reader));
                }
                let lines = (0..count).map(|line| (line as u32, line % 2 == 0));
                noted.extend(lines.filter(|(line, is_urgent)| log.note(*line as usize, *is_urgent)));
            }
            told.extend(drain(&reader));
            prop_assert_eq!(told, noted);
        }
    }
}
