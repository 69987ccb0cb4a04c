//! What was sent and is not acknowledged: which lines each datagram told of, until it is heard or lost.

use arrayvec::ArrayVec;

use super::replay::WINDOW;
use crate::replica::MAX_ENTRIES_HEARD;
use crate::time::MonotonicNs;

/// Most entries in a datagram.
pub(super) const MAX_ENTRIES: usize = MAX_ENTRIES_HEARD;
/// A datagram is lost when one numbered so much higher was heard. Less would take reordering for loss.
const REORDER: u64 = 8;

/// Why a datagram carries its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cargo {
    /// Nothing that would be sent again.
    Nothing,
    /// Buckets that changed.
    Changes,
    /// The full sync that the peer asked for.
    Sync,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Heard,
    Lost,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) sent_at: MonotonicNs,
    /// No change in it is older.
    pub(super) oldest_change: MonotonicNs,
    pub(super) cargo: Cargo,
    pub(super) lines: ArrayVec<u32, MAX_ENTRIES>,
}

/// The datagrams on their way to a peer, at most as many as it can acknowledge.
#[derive(Debug)]
pub(super) struct Flight {
    /// By number modulo the window; `None` when heard or lost.
    slots: Vec<Option<Sent>>,
    /// None on its way has a lower number.
    oldest: u64,
    next: u64,
}

impl Flight {
    pub(super) fn new() -> Self {
        Self { slots: vec![None; WINDOW as usize], oldest: 1, next: 1 }
    }

    /// How many datagrams may be sent before one must be heard or lost.
    pub(super) const fn room(&self) -> u64 {
        WINDOW - (self.next - self.oldest)
    }

    /// Those on their way.
    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        (self.oldest..self.next).filter_map(|number| self.slots[slot(number)].as_ref())
    }

    /// Notes a datagram and gives it its number. Without room the oldest counts as lost.
    pub(super) fn push(&mut self, sent: Sent, mut fate: impl FnMut(Sent, Fate)) -> u64 {
        if self.room() == 0 {
            if let Some(oldest) = self.take(self.oldest) {
                fate(oldest, Fate::Lost);
            }
            self.advance();
        }
        let number = self.next;
        self.slots[slot(number)] = Some(sent);
        self.next += 1;
        number
    }

    /// Takes an acknowledgement: bit `b` of word `w` says that `highest - 64 w - b` was heard. When
    /// `highest` is news, tells when it was sent.
    pub(super) fn acknowledge(
        &mut self,
        highest: u64,
        words: impl Iterator<Item = u64>,
        mut fate: impl FnMut(Sent, Fate),
    ) -> Option<MonotonicNs> {
        let newest = self.get(highest).map(|sent| sent.sent_at);
        let mut reach = 0;
        let mut heard_highest = false;
        for mut word in words {
            heard_highest |= reach == 0 && word & 1 == 1;
            while word != 0 {
                let back = reach + u64::from(word.trailing_zeros());
                word &= word - 1;
                if let Some(sent) = highest.checked_sub(back).and_then(|number| self.take(number)) {
                    fate(sent, Fate::Heard);
                }
            }
            reach += 64;
        }
        if heard_highest && highest < self.next {
            self.lose_between(highest.saturating_sub(reach), highest.saturating_sub(REORDER), &mut fate);
        }
        self.advance();
        newest.filter(|_| heard_highest)
    }

    /// Those above `above`, up to `last`, were overtaken.
    fn lose_between(&mut self, above: u64, last: u64, fate: &mut impl FnMut(Sent, Fate)) {
        for number in self.oldest.max(above + 1)..=last {
            if let Some(sent) = self.take(number) {
                fate(sent, Fate::Lost);
            }
        }
    }

    /// What was sent `timeout_ns` ago or longer is lost, and so is what was sent in a future that the clock
    /// has gone back from.
    pub(super) fn expire(&mut self, now: MonotonicNs, timeout_ns: u64, mut fate: impl FnMut(Sent, Fate)) {
        while self.oldest < self.next {
            let is_due = |sent: &mut Sent| now.since(sent.sent_at) >= timeout_ns || sent.sent_at > now;
            let Some(sent) = self.slots[slot(self.oldest)].take_if(is_due) else { return };
            fate(sent, Fate::Lost);
            self.advance();
        }
    }

    /// All are lost.
    pub(super) fn lose_all(&mut self, mut fate: impl FnMut(Sent, Fate)) {
        self.expire(MonotonicNs(u64::MAX), 0, &mut fate);
    }

    fn get(&self, number: u64) -> Option<&Sent> {
        if (self.oldest..self.next).contains(&number) { self.slots[slot(number)].as_ref() } else { None }
    }

    fn take(&mut self, number: u64) -> Option<Sent> {
        if (self.oldest..self.next).contains(&number) { self.slots[slot(number)].take() } else { None }
    }

    fn advance(&mut self) {
        while self.oldest < self.next && self.slots[slot(self.oldest)].is_none() {
            self.oldest += 1;
        }
    }
}

const fn slot(number: u64) -> usize {
    (number % WINDOW) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(line: u32, at: u64) -> Sent {
        let (cargo, at) = (Cargo::Changes, MonotonicNs(at));
        Sent { sent_at: at, oldest_change: at, cargo, lines: [line].into_iter().collect() }
    }

    fn push(flight: &mut Flight, line: u32, at: u64) -> u64 {
        flight.push(sent(line, at), |_, _| panic!("there is room"))
    }

    #[test]
    fn a_datagram_that_was_overtaken_by_many_is_lost() {
        let mut flight = Flight::new();
        (0..20).for_each(|line| assert_eq!(push(&mut flight, line, 0), u64::from(line) + 1));
        let mut fates = vec![];
        let heard: u64 = !(1 << 3) & !(1 << 15);
        let newest =
            flight.acknowledge(20, [heard].into_iter(), |sent, fate| fates.push((sent.lines[0], fate)));
        assert_eq!(newest, Some(MonotonicNs(0)));
        assert!(fates.contains(&(4, Fate::Lost)), "number 5");
        assert!(fates.iter().all(|(line, _)| *line != 16), "number 17 may still come");
        assert_eq!((fates.len(), flight.sent().count()), (19, 1));
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_does_nothing() {
        let mut flight = Flight::new();
        push(&mut flight, 1, 0);
        for highest in [0, 2, 20, 5000, u64::MAX] {
            let words = [1, 0].into_iter();
            assert_eq!(flight.acknowledge(highest, words, |_, _| panic!("{highest}")), None);
        }
        assert_eq!(flight.sent().count(), 1);
    }

    #[test]
    fn what_is_never_acknowledged_times_out_once() {
        let mut flight = Flight::new();
        push(&mut flight, 1, 100);
        push(&mut flight, 2, 200);
        let mut lost = vec![];
        flight.expire(MonotonicNs(250), 100, |sent, _| lost.push(sent.lines[0]));
        assert_eq!(lost, [1]);
        flight.expire(MonotonicNs(150), 100, |sent, _| lost.push(sent.lines[0]));
        assert_eq!(lost, [1, 2], "the clock has gone back behind it");
    }

    #[test]
    fn without_room_the_oldest_is_lost() {
        let mut flight = Flight::new();
        (0..WINDOW).for_each(|line| _ = push(&mut flight, line as u32, 0));
        assert_eq!(flight.room(), 0);
        let mut lost = vec![];
        flight.push(sent(9, 9), |sent, fate| lost.push((sent.lines[0], fate)));
        assert_eq!((lost, flight.room()), (vec![(0, Fate::Lost)], 0));
    }

    proptest! {
        #[test]
        fn each_datagram_has_one_fate(
            acks in proptest::collection::vec((0_u64..300, any::<u64>(), any::<u64>()), 0..50)
        ) {
            let mut flight = Flight::new();
            let mut fates = vec![0; 200];
            (0..200).for_each(|line| _ = push(&mut flight, line, 0));
            for (highest, a, b) in acks {
                flight.acknowledge(highest, [a, b].into_iter(), |sent, _| fates[sent.lines[0] as usize] += 1);
            }
            flight.lose_all(|sent, _| fates[sent.lines[0] as usize] += 1);
            prop_assert!(fates.iter().all(|fate| *fate == 1));
            prop_assert_eq!(flight.room(), WINDOW);
        }
    }
}
