//! What one peer is to be told of, in which order, and what is put back when a datagram is lost.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::ack::{Cargo, Fate, Sent};
use super::batch::{BATCH_ENTRIES, Batch};
use super::pending::Backlog;
use super::sync::{Served, Sweep};
use super::urgency::{LOOKED_AT_TOGETHER, Urgent};
use crate::bucket::table::Change;
use crate::replica::{Occasion, Store, Telling};
use crate::time::MonotonicNs;

/// Most lines that a flush looks at for each peer, since each costs time of the control plane: a few milliseconds in
/// all. Flushes that are further apart may look at more.
const LINES_A_FLUSH: u32 = 65_536;
const USUAL_INTERVAL: Duration = Duration::from_millis(20);
/// A sync has looked at all lines in this time, also of a table that is almost empty: the node that asked does not
/// answer checks before.
const SYNC_TIME: Duration = Duration::from_secs(2);
/// A very large table takes longer: looking at more lines a second would leave the control plane no time for the rest.
const MAX_SYNC_LOOKS_A_SECOND: u32 = 12_500_000;

/// Lines that are looked at together.
type Lines = ArrayVec<u32, LOOKED_AT_TOGETHER>;

/// How many lines a flush looks at.
#[derive(Clone, Copy, Debug)]
struct Looks {
    any: u32,
    sync: u32,
}

impl Looks {
    fn of(lines: u32, flush_interval: Duration) -> Self {
        let in_a_flush = |lines: u32, time: Duration| {
            let lines = u128::from(lines) * flush_interval.as_nanos() / time.as_nanos();
            u32::try_from(lines).unwrap_or(u32::MAX)
        };
        let any = in_a_flush(LINES_A_FLUSH, USUAL_INTERVAL).max(LINES_A_FLUSH);
        let most = in_a_flush(MAX_SYNC_LOOKS_A_SECOND, Duration::from_secs(1));
        let sync = in_a_flush(lines, SYNC_TIME).saturating_add(1).min(most).max(LINES_A_FLUSH / 2);
        Self { any, sync }
    }
}

/// Lines that wait for one peer.
#[derive(Debug)]
pub(super) struct Outbox {
    backlog: Backlog,
    /// The most urgent lines, when there is not even room for all urgent ones.
    urgent: Urgent,
    /// There is no room for all that waits, but for all that is urgent.
    urgent_first: bool,
    pub(super) served: Served,
    sweep: Sweep,
    /// Changes and a sync take turns, also from one flush to the next: a flush may have room for one of them only.
    sync_is_next: bool,
    looks_a_flush: Looks,
    /// How many more lines this flush may look at.
    looks: Looks,
}

impl Outbox {
    pub(super) fn new(lines: u32, flush_interval: Duration, now: MonotonicNs) -> Self {
        let looks = Looks::of(lines, flush_interval);
        Self {
            backlog: Backlog::new(lines),
            urgent: Urgent::default(),
            urgent_first: false,
            served: Served::new(lines),
            sweep: Sweep::new(lines, flush_interval, now),
            sync_is_next: false,
            looks_a_flush: looks,
            looks,
        }
    }

    /// Lines have changed, at `changed_at` or later.
    pub(super) fn changed(&mut self, changed: &[Change], changed_at: MonotonicNs) {
        self.backlog.insert(changed, changed_at);
    }

    /// Lines that wait because they changed.
    pub(super) const fn pending(&self) -> u32 {
        self.backlog.len()
    }

    /// Whether a line waits because it changed.
    pub(super) fn awaits(&self, line: u32) -> bool {
        self.backlog.contains(line)
    }

    /// No change that waits is older.
    pub(super) fn oldest_change(&self) -> Option<MonotonicNs> {
        self.backlog.oldest()
    }

    /// A flush begins in which `affordable` lines can be sent.
    pub(super) fn begin_flush(&mut self, affordable: u32, store: &dyn Store, now: MonotonicNs) {
        self.looks = self.looks_a_flush;
        self.sweep.earn(now);
        // An eighth is left to lines in their turn, so that none waits for ever.
        let room = if affordable < self.pending() { affordable - affordable / 8 } else { 0 };
        self.urgent_first = room >= self.backlog.urgent().len();
        let urgencies = |lines: &[u32], each: &mut dyn FnMut(u8)| store.urgencies(lines, now, each);
        self.urgent.choose(self.backlog.urgent(), room, urgencies);
    }

    /// Gathers at most `most` entries: changes and a sync in turn, or the lines of the sweep when there is
    /// neither.
    pub(super) fn gather(&mut self, batch: &mut Batch, most: usize, store: &mut dyn Store, now: MonotonicNs) {
        for _ in 0..2 {
            self.sync_is_next = !self.sync_is_next;
            let cargo = if self.sync_is_next { Cargo::Changes } else { Cargo::Sync };
            self.gather_cargo(cargo, batch, most, store, now);
            if !batch.is_empty() {
                return;
            }
        }
        self.gather_cargo(Cargo::Nothing, batch, most, store, now);
    }

    fn gather_cargo(
        &mut self,
        cargo: Cargo,
        batch: &mut Batch,
        most: usize,
        store: &mut dyn Store,
        now: MonotonicNs,
    ) {
        let occasion = match cargo {
            Cargo::Changes => Occasion::Change,
            Cargo::Sync | Cargo::Nothing => Occasion::Review,
        };
        let telling = Telling { occasion, to_joining: self.served.request().is_some() };
        batch.begin(cargo, self.backlog.oldest().unwrap_or(now));
        let most = most.min(BATCH_ENTRIES);
        while batch.len() < most {
            let lines = self.take_lines(cargo, most - batch.len());
            if lines.is_empty() {
                break;
            }
            batch.gather(|said| store.tell(&lines, telling, now, said));
        }
        batch.finish();
    }

    /// The next lines to look at, at most `most`.
    fn take_lines(&mut self, cargo: Cargo, most: usize) -> Lines {
        let mut lines = Lines::new();
        let most = most.min(LOOKED_AT_TOGETHER).min(*self.looks_for(cargo) as usize);
        match cargo {
            Cargo::Changes => self.take_changed(&mut lines, most),
            Cargo::Sync => self.served.take_next(&mut lines, most),
            Cargo::Nothing => lines.extend(std::iter::from_fn(|| self.sweep.take_next()).take(most)),
        }
        *self.looks_for(cargo) -= lines.len() as u32;
        lines
    }

    /// The most urgent lines, then urgent ones, then those whose turn it is.
    fn take_changed(&mut self, lines: &mut Lines, most: usize) {
        for urgent in std::iter::from_fn(|| self.urgent.next()).take(most) {
            self.backlog.remove(urgent);
            lines.push(urgent);
        }
        if self.urgent_first {
            let room = most - lines.len();
            lines.extend(std::iter::from_fn(|| self.backlog.take_urgent()).take(room));
        }
        self.backlog.take_next(lines, most);
    }

    const fn looks_for(&mut self, cargo: Cargo) -> &mut u32 {
        match cargo {
            Cargo::Sync => &mut self.looks.sync,
            Cargo::Changes | Cargo::Nothing => &mut self.looks.any,
        }
    }

    /// What was gathered and cannot be sent waits again.
    pub(super) fn put_back(&mut self, batch: &mut Batch) {
        let (cargo, oldest_change) = (batch.cargo(), batch.oldest_change());
        for (line, _) in batch.rest() {
            self.put_back_line(*line, cargo, oldest_change);
        }
        batch.begin(Cargo::Nothing, oldest_change);
    }

    /// A datagram's lines were heard, or wait again.
    pub(super) fn landed(&mut self, sent: &Sent, fate: Fate) {
        if sent.cargo == Cargo::Sync {
            self.served.landed(sent.lines.len());
        }
        if fate == Fate::Lost {
            for line in &sent.lines {
                self.put_back_line(*line, sent.cargo, sent.oldest_change);
            }
        }
    }

    fn put_back_line(&mut self, line: u32, cargo: Cargo, oldest_change: MonotonicNs) {
        match cargo {
            Cargo::Changes => self.backlog.put_back(line, oldest_change),
            Cargo::Sync => self.served.put_back(line),
            Cargo::Nothing => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::link::pipe::Counters;
    use crate::link::sync::SyncId;

    const NOW: MonotonicNs = MonotonicNs(1_000_000);

    /// An outbox in a flush, and a store in which each line has something to say.
    fn outbox(lines: u32) -> (Outbox, Counters) {
        let mut store = Counters::new(lines);
        (0..lines).for_each(|line| store.charge(line, 1));
        let mut outbox = Outbox::new(lines, USUAL_INTERVAL, NOW);
        outbox.begin_flush(u32::MAX, &store, NOW);
        (outbox, store)
    }

    fn change(outbox: &mut Outbox, lines: std::ops::Range<u32>, changed_at: MonotonicNs) {
        lines.for_each(|line| outbox.changed(&[Change { line, is_urgent: false }], changed_at));
    }

    fn gather(outbox: &mut Outbox, store: &mut Counters, most: usize) -> Batch {
        let mut batch = Batch::new();
        outbox.gather(&mut batch, most, store, NOW);
        batch
    }

    fn lines(batch: &Batch) -> Vec<u32> {
        let mut lines: Vec<u32> = batch.rest().iter().map(|(line, _)| *line).collect();
        lines.sort_unstable();
        lines
    }

    fn sent(batch: &Batch) -> Sent {
        let lines = batch.rest().iter().map(|(line, _)| *line).collect();
        Sent { sent_at: NOW, oldest_change: batch.oldest_change(), cargo: batch.cargo(), lines }
    }

    #[test]
    fn what_was_lost_waits_again_and_what_was_heard_does_not() {
        let (mut outbox, mut store) = outbox(10);
        change(&mut outbox, 0..4, MonotonicNs(7));
        let batch = gather(&mut outbox, &mut store, 100);
        assert_eq!((lines(&batch), outbox.pending()), (vec![0, 1, 2, 3], 0));
        outbox.landed(&sent(&batch), Fate::Heard);
        assert_eq!(outbox.pending(), 0);
        outbox.landed(&sent(&batch), Fate::Lost);
        assert_eq!((outbox.pending(), outbox.oldest_change()), (4, Some(MonotonicNs(7))));
    }

    #[test]
    fn a_change_is_no_older_than_the_last_flush_that_told_all() {
        let (mut outbox, mut store) = outbox(1000);
        change(&mut outbox, 0..4, MonotonicNs(7));
        let _ = gather(&mut outbox, &mut store, 100);
        change(&mut outbox, 2..3, MonotonicNs(70));
        assert_eq!((outbox.pending(), outbox.oldest_change()), (1, Some(MonotonicNs(70))));
    }

    #[test]
    fn changes_and_a_sync_take_turns() {
        let (mut outbox, mut store) = outbox(10);
        outbox.served.ask(Some(SyncId::MIN));
        change(&mut outbox, 0..8, NOW);
        let cargos: Vec<Cargo> = (0..4).map(|_| gather(&mut outbox, &mut store, 2).cargo()).collect();
        assert_eq!(cargos, [Cargo::Changes, Cargo::Sync, Cargo::Changes, Cargo::Sync]);
    }

    #[test]
    fn a_sync_that_finds_nothing_to_say_leaves_changes_their_turn() {
        let mut outbox = Outbox::new(4 * LINES_A_FLUSH, USUAL_INTERVAL, NOW);
        let mut store = Counters::new(4 * LINES_A_FLUSH);
        store.charge(4 * LINES_A_FLUSH - 1, 1);
        outbox.served.ask(Some(SyncId::MIN));
        for _ in 0..4 {
            outbox.begin_flush(u32::MAX, &store, NOW);
            change(&mut outbox, 4 * LINES_A_FLUSH - 1..4 * LINES_A_FLUSH, NOW);
            assert_eq!(gather(&mut outbox, &mut store, 100).cargo(), Cargo::Changes);
            let _ = gather(&mut outbox, &mut store, 100);
        }
    }

    #[test]
    fn a_sync_ends_however_much_changes_where_a_flush_has_room_for_little() {
        let (mut outbox, mut store) = outbox(1000);
        outbox.served.ask(Some(SyncId::MIN));
        let mut synced = 0;
        for _ in 0..30 {
            outbox.begin_flush(100, &store, NOW);
            change(&mut outbox, 0..1000, NOW);
            let batch = gather(&mut outbox, &mut store, 100);
            synced += if batch.cargo() == Cargo::Sync { batch.len() } else { 0 };
        }
        assert_eq!(synced, 1000);
    }

    #[test]
    fn a_sync_goes_by_a_large_table_in_seconds_whatever_the_interval() {
        for interval in [1, 20, 500, 1000].map(Duration::from_millis) {
            for lines in [1_u32 << 4, 1 << 20, 1 << 24, 1 << 26] {
                let flushes = lines.div_ceil(Looks::of(lines, interval).sync);
                let most = if lines <= 1 << 24 { SYNC_TIME } else { SYNC_TIME * 3 };
                assert!(interval * flushes <= most, "{lines} lines, {interval:?}: {flushes} flushes");
            }
        }
    }

    #[test]
    fn what_was_gathered_and_not_sent_waits_again() {
        let (mut outbox, mut store) = outbox(10);
        change(&mut outbox, 0..6, NOW);
        let mut batch = gather(&mut outbox, &mut store, 100);
        batch.sent(2);
        outbox.put_back(&mut batch);
        assert_eq!((outbox.pending(), batch.is_empty()), (4, true));
    }

    #[test]
    fn without_room_for_all_the_urgent_ones_go_first_and_leave_an_eighth() {
        for (urgent, expected) in [(30..40, 10), (30..200, 84)] {
            let (mut outbox, mut store) = outbox(1000);
            change(&mut outbox, 0..1000, NOW);
            urgent.clone().for_each(|line| outbox.changed(&[Change { line, is_urgent: true }], NOW));
            store.urgent = urgent.clone().collect();
            outbox.begin_flush(96, &store, NOW);
            let batch = gather(&mut outbox, &mut store, 96);
            let first = batch.rest().iter().filter(|(line, _)| urgent.contains(line));
            assert!(first.count() >= expected, "{urgent:?}");
            assert!(lines(&batch).contains(&0), "its turn has come");
        }
    }

    #[test]
    fn what_was_lost_goes_before_what_changed_since() {
        let (mut outbox, mut store) = outbox(1000);
        change(&mut outbox, 900..910, NOW);
        let batch = gather(&mut outbox, &mut store, 100);
        change(&mut outbox, 0..900, NOW);
        outbox.landed(&sent(&batch), Fate::Lost);
        outbox.begin_flush(96, &store, NOW);
        let again = gather(&mut outbox, &mut store, 96);
        assert!((900..910).all(|line| lines(&again).contains(&line)));
    }

    #[test]
    fn a_line_of_a_sync_that_was_lost_is_synced_again() {
        let (mut outbox, mut store) = outbox(5);
        outbox.served.ask(Some(SyncId::MIN));
        let batch = gather(&mut outbox, &mut store, 100);
        outbox.served.sent(5);
        outbox.landed(&sent(&batch), Fate::Lost);
        assert_eq!(lines(&gather(&mut outbox, &mut store, 100)), [0, 1, 2, 3, 4]);
        assert!(outbox.served.is_done(), "nothing is left and nothing on its way");
    }

    #[test]
    fn a_flush_looks_at_no_more_lines_than_it_may() {
        let (mut outbox, _) = outbox(LINES_A_FLUSH + 10);
        let mut nothing_to_say = Counters::new(LINES_A_FLUSH + 10);
        change(&mut outbox, 0..LINES_A_FLUSH + 10, NOW);
        assert!(gather(&mut outbox, &mut nothing_to_say, 100).is_empty());
        assert_eq!(outbox.pending(), 10);
    }

    #[test]
    fn the_sweep_tells_of_what_nobody_asked_for_when_nothing_else_waits() {
        let (mut outbox, mut store) = outbox(3);
        let late = MonotonicNs(NOW.0 + 3_600_000_000_000);
        outbox.begin_flush(u32::MAX, &store, late);
        let batch = gather(&mut outbox, &mut store, 3);
        assert_eq!((batch.cargo(), lines(&batch)), (Cargo::Nothing, vec![0, 1, 2]));
    }
}
