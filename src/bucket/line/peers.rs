//! What a line knows of other nodes: which of their counters are its owner's, and what was charged for those that
//! cannot be heard.

use super::{Line, Miss, RESERVED, raise};
use crate::bucket::hash::BucketId;
use crate::bucket::limits::Limits;
use crate::bucket::meta::Meta;
use crate::bucket::phantom::Phantom;
use crate::bucket::sync::{Ordering, Pair};

/// What a merge knows of a line before it moves the level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) slot: u16,
    pub(crate) tat: u64,
    /// Tokens that the owner used.
    pub(crate) used: u64,
    /// Whether the peer's counter belongs to this owner.
    pub(crate) known: bool,
}

/// How a merge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merged {
    Done,
    /// Another thread was faster.
    Again,
    /// The line has another owner now.
    Lost,
}

impl Line {
    /// Charges `fixed`, in 1/65536 of a token, for peers who cannot be heard, beside a charge that was made; the
    /// level then. `found` is what that charge found in the level, in the same unit.
    pub(crate) fn charge_for_absent(
        &self,
        id: BucketId,
        limits: &Limits,
        fixed: u64,
        found: u64,
        now: u64,
    ) -> Result<u64, Miss> {
        let ticks = limits.clock().from_fixed(fixed);
        let mut pair = self.pair.load();
        loop {
            self.expect(pair, id, limits)?;
            let tat = raise(pair.tat.max(now), ticks, now);
            match self.pair.compare_exchange(pair, Pair { tat, count: pair.count }) {
                Ok(()) => {
                    self.note_phantom(fixed, found);
                    return Ok(tat - now);
                }
                Err(newer) => pair = newer,
            }
        }
    }

    /// Moves the level to the `tat` that `next` makes of what is known, and notes that the counter of
    /// the peer in `column` belongs to the owner. Only one thread merges.
    pub(crate) fn merge(&self, id: BucketId, column: u32, mut next: impl FnMut(Heard) -> u64) -> Merged {
        let pair = self.pair.load();
        if self.id() != id.get() {
            return Merged::Lost;
        }
        if pair.tat == RESERVED {
            return Merged::Again;
        }
        // Ordered as the identity is: an exchange that succeeds below, if only of the pair for itself, shows that
        // all is of one owner.
        let meta = self.meta();
        let used = pair.count.saturating_sub(self.start.load(Ordering::Relaxed));
        let heard = Heard { slot: meta.slot(), tat: pair.tat, used, known: meta.knows(column) };
        let tat = next(heard);
        let changes = tat != pair.tat || !heard.known;
        if changes && self.pair.compare_exchange(pair, Pair { tat, count: pair.count }).is_err() {
            return Merged::Again;
        }
        if !heard.known {
            self.note_peer(meta, column);
        }
        Merged::Done
    }

    /// Moves the level to what `next` makes of `tat` by one look and one exchange, where the bucket is here, in the
    /// slot of `limits`, and the counter of the peer in `column` is known to be its owner's. Whether it was done.
    #[inline]
    pub(crate) fn raise(
        &self,
        id: BucketId,
        limits: &Limits,
        column: u32,
        next: impl FnOnce(u64) -> Option<u64>,
    ) -> bool {
        let old = self.pair.load();
        let is_known = self.expect(old, id, limits).is_ok() && self.meta().knows(column);
        let tat = if is_known { next(old.tat) } else { None };
        tat.is_some_and(|tat| self.pair.compare_exchange(old, Pair { tat, count: old.count }).is_ok())
    }

    /// Sets the peer's bit if the line still has the owner it had in `seen`.
    fn note_peer(&self, seen: Meta, column: u32) {
        let _ = self.meta.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |meta| {
            (Meta(meta).owner() == seen.owner()).then(|| Meta(meta).with_peer(column).0)
        });
    }

    /// Notes what was charged for peers that cannot be heard, by a charge that found `level`, both in 1/65536 of a
    /// token.
    pub(crate) fn note_phantom(&self, charged: u64, level: u64) {
        if charged != 0 || self.phantom() != Phantom::default() {
            self.change_phantom(|phantom| (phantom.plus(charged, level), ()));
        }
    }

    /// Sets what can be of the phantom against `growth` of a peer that has `left` of it in its level; how much. The
    /// bucket has this `level`. All are in 1/65536 of a token.
    pub(crate) fn cover(&self, growth: u64, left: u64, level: u64) -> u64 {
        self.change_phantom(|phantom| phantom.cover(growth, left, level))
    }

    fn change_phantom<T>(&self, change: impl Fn(Phantom) -> (Phantom, T)) -> T {
        // Relaxed: an estimate of its own, it publishes nothing.
        let mut phantom = self.phantom.load(Ordering::Relaxed);
        loop {
            let (next, done) = change(Phantom(phantom));
            match self.phantom.compare_exchange_weak(phantom, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return done,
                Err(newer) => phantom = newer,
            }
        }
    }

    /// Ends the phantom, and gives what stands of it back to the level: `lower` makes the new `tat` of slot, `tat` and
    /// what is given back.
    pub(crate) fn return_phantom(&self, lower: impl Fn(u16, u64, u64) -> u64) {
        if self.phantom() == Phantom::default() {
            return;
        }
        let mut pair = self.pair.load();
        let id = self.id();
        let standing = Phantom(self.phantom.swap(0, Ordering::Relaxed)).standing();
        while pair.tat != RESERVED && self.id() == id && standing != 0 {
            let slot = self.meta().slot();
            let tat = lower(slot, pair.tat, standing);
            match self.pair.compare_exchange(pair, Pair { tat, count: pair.count }) {
                Ok(()) => return,
                Err(newer) => pair = newer,
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::bucket::table_tests::limit_in_slot;

    fn make(line: &Line, id: u128) -> BucketId {
        let id = BucketId::from_u128(id);
        let reserved = line.reserve(1, |_, _| true).unwrap();
        line.claim(id, 0, reserved);
        line.publish(reserved, 0);
        id
    }

    #[test]
    fn a_merge_that_moves_no_level_is_none_when_the_line_changes_hands_meanwhile() {
        let line = Line::default();
        let id = make(&line, 1);
        let merged = line.merge(id, 0, |heard| {
            make(&line, 2);
            heard.tat
        });
        assert_eq!(merged, Merged::Again);
        assert_eq!(line.merge(id, 0, |heard| heard.tat), Merged::Lost);
    }

    #[test]
    fn a_level_is_raised_at_once_only_for_a_known_peer_of_the_owner_it_was_read_of() {
        let line = Line::default();
        let id = make(&line, 1);
        let [own, other] = [0, 1].map(|slot| limit_in_slot(slot, 1, 1));
        let raise = |id, limits, column| line.raise(id, limits, column, |tat| Some(tat + 5));
        assert!(!raise(id, &own, 3), "the peer's counter may be of another owner");
        assert_eq!(line.merge(id, 3, |heard| heard.tat), Merged::Done);
        assert!(raise(id, &own, 3));
        assert!(!raise(id, &other, 3), "in ticks of other limits");
        assert!(!raise(BucketId::from_u128(2), &own, 3));
        assert!(!line.raise(id, &own, 3, |_| None));
        let lost = line.raise(id, &own, 3, |tat| {
            make(&line, 2);
            Some(tat + 5)
        });
        assert!(!lost, "the line changed hands meanwhile");
        assert!(!raise(BucketId::from_u128(2), &own, 3), "the next owner's peers are unknown");
        let reserved = line.reserve(1, |_, _| true).unwrap();
        assert!(!raise(BucketId::from_u128(2), &own, 3));
        line.abandon(reserved);
    }
}
