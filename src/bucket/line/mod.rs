//! One bucket in one cache line, and the moves a line can make.
//!
//! A line is *empty* until its first owner, then *live*, and *reserved* while it changes owner or
//! unit. Identity, slot and start change only while it is reserved, and every reservation for a new
//! owner takes a count that the line never had. So no pair of `(tat, count)` ever comes back under
//! another identity: a thread that reads the pair, then the identity, and then exchanges the pair
//! against what was read, has charged the bucket that was meant, or nothing.

mod peers;

use super::absent::Absent;
use super::gcra::{self, Verdict};
use super::hash::BucketId;
use super::limits::Limits;
use super::meta::Meta;
use super::phantom::Phantom;
use super::sync::{AtomicPair, AtomicU64, Ordering, Pair, fence};

pub(crate) use super::meta::Hints;
pub(crate) use peers::{Heard, Merged};

/// The `tat` of a line that is changing hands.
const RESERVED: u64 = u64::MAX;

/// A bucket.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line {
    pair: AtomicPair,
    id_low: AtomicU64,
    id_high: AtomicU64,
    /// [`Meta`].
    meta: AtomicU64,
    /// The count at which this owner began.
    start: AtomicU64,
    /// [`Phantom`].
    phantom: AtomicU64,
    /// Tokens counted and given back, which the next charges use up first.
    credit: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);

/// What a line holds, seen from one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The bucket looked for.
    Mine,
    /// The bucket looked for, changing hands or unit: look again.
    MineReserved,
    /// Something else.
    Other,
}

/// How a charge on a line was decided: the level after it, and the ticks to wait if it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) level: u64,
    pub(crate) wait: u64,
}

/// Why nothing was done on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// The line is counted in the ticks of this other slot.
    OtherSlot(u16),
    /// The line has another owner now, or is changing.
    Lost,
}

/// What one look at a line says of a charge: it stands if the line still has the pair that was seen, which an exchange
/// makes sure of, and for a denial another look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prepared {
    pub(crate) seen: Pair,
    pub(crate) verdict: Verdict,
}

/// A bucket as one look found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose it is.
    pub id: BucketId,
    /// The slot of the limits that its level is counted in.
    pub slot: u16,
    /// The theoretical arrival time, in ticks of these limits.
    pub tat: u64,
    /// Tokens that this node ever admitted here, from where the bucket began.
    pub count: u64,
    /// Where it began.
    pub start: u64,
    /// What was charged for peers that could not be heard.
    pub phantom: Phantom,
    /// A bit for each peer whose counter is known, by its column.
    pub(crate) known: u16,
}

/// A bucket at a glance: its parts may be of different moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The slot of the limits that its level is counted in.
    pub slot: u16,
    /// The theoretical arrival time, in ticks of these limits.
    pub tat: u64,
    /// Tokens that it admitted since it was made.
    pub used: u64,
    /// What was charged for peers that could not be heard.
    pub phantom: Phantom,
}

/// What a look at a line found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Empty,
    /// It was changed meanwhile: look again.
    Changing,
    Bucket(View),
}

/// `tat` moved on by `ticks`, within the highest level there is.
fn raise(tat: u64, ticks: u64, now: u64) -> u64 {
    tat.saturating_add(ticks).min(now.saturating_add(gcra::MAX_LEVEL_TICKS)).max(tat)
}

impl Line {
    fn id(&self) -> u128 {
        // Relaxed: ordered by the acquire load of the pair before it, checked by the exchange after.
        let low = self.id_low.load(Ordering::Relaxed);
        let high = self.id_high.load(Ordering::Relaxed);
        (u128::from(high) << 64) | u128::from(low)
    }

    /// Ordered as the identity is.
    #[inline]
    fn meta(&self) -> Meta {
        Meta(self.meta.load(Ordering::Relaxed))
    }

    fn phantom(&self) -> Phantom {
        Phantom(self.phantom.load(Ordering::Relaxed))
    }

    fn set_id(&self, id: u128) {
        self.id_low.store(id as u64, Ordering::Relaxed);
        self.id_high.store((id >> 64) as u64, Ordering::Relaxed);
    }

    /// Whether the line seems to hold `id`: a hint, which a charge makes sure of.
    #[inline]
    pub(crate) fn may_hold(&self, id: BucketId) -> bool {
        // One comparison of all bits, so that callers can look at two lines without a branch between.
        let low = self.id_low.load(Ordering::Relaxed) ^ id.get() as u64;
        let high = self.id_high.load(Ordering::Relaxed) ^ (id.get() >> 64) as u64;
        low | high == 0
    }

    /// Whether the line may be empty or nobody's: a hint from one load.
    #[inline]
    pub(crate) fn may_be_empty(&self) -> bool {
        self.id_low.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn look(&self, id: BucketId) -> Seen {
        let pair = self.pair.load();
        match (self.id() == id.get(), pair) {
            (true, Pair { tat: RESERVED, .. }) => Seen::MineReserved,
            (true, _) => Seen::Mine,
            (false, _) => Seen::Other,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // A line has had an owner's name only after its count.
        self.may_be_empty() && self.pair.load().count == 0
    }

    /// Whether `pair`, which was just read, is that of the bucket `id` in the ticks of `limits`.
    fn expect(&self, pair: Pair, id: BucketId, limits: &Limits) -> Result<(), Miss> {
        if pair.tat == RESERVED || self.id() != id.get() {
            return Err(Miss::Lost);
        }
        let slot = self.meta().slot();
        if slot == limits.slot() { Ok(()) } else { Err(Miss::OtherSlot(slot)) }
    }

    /// Charges `cost` tokens if they fit, and with them what `absent` says that peers use meanwhile who cannot be
    /// heard.
    pub(crate) fn charge(
        &self,
        id: BucketId,
        limits: &Limits,
        cost: u64,
        absent: Absent,
        now: u64,
    ) -> Result<Decision, Miss> {
        let cost_ticks = limits.clock().ticks(cost);
        let mut pair = self.pair.load();
        loop {
            self.expect(pair, id, limits)?;
            let level = gcra::level(pair.tat, now);
            let tat = match gcra::decide(pair.tat, now, cost_ticks, limits.burst_ticks()) {
                Verdict::Denied { wait } => return Ok(Decision { allowed: false, level, wait }),
                Verdict::Allowed { .. } if cost == 0 => {
                    return Ok(Decision { allowed: true, level, wait: 0 });
                }
                Verdict::Allowed { tat } if absent.is_none() => tat,
                Verdict::Allowed { tat } => raise(tat, limits.clock().from_fixed(absent.fixed(cost)), now),
            };
            let credit = self.take_credit(cost);
            match self.pair.compare_exchange(pair, Pair { tat, count: pair.count + cost - credit }) {
                Ok(()) => {
                    if !absent.is_none() {
                        self.note_phantom(absent.fixed(cost), limits.clock().to_fixed(level));
                    }
                    return Ok(Decision { allowed: true, level: tat - now, wait: 0 });
                }
                Err(newer) => {
                    self.give_credit(credit);
                    pair = newer;
                }
            }
        }
    }

    /// Reads, and does not make, a charge of the plainest kind: the bucket is here, in the slot of `limits`, and owes
    /// no credit. `None` is for [`Line::charge`].
    // Always: handed over in memory, the words of the pair are read before they are written.
    #[inline(always)]
    pub(crate) fn prepare(&self, id: BucketId, limits: &Limits, cost: u64, now: u64) -> Option<Prepared> {
        // An owner's counts are above those of all before, so that this one and the identity are of one owner
        // whenever the pair is exchanged, or seen again.
        let seen = self.pair.glance();
        let slot = self.meta().slot();
        let plain = seen.tat != RESERVED && self.may_hold(id) && slot == limits.slot() && cost != 0;
        if !plain || self.credit.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let verdict = gcra::decide(seen.tat, now, limits.clock().ticks(cost), limits.burst_ticks());
        Some(Prepared { seen, verdict })
    }

    /// Exchanges the pair that was seen for the next; whether it was still there.
    #[inline]
    pub(crate) fn exchange(&self, seen: Pair, next: Pair) -> bool {
        self.pair.compare_exchange(seen, next).is_ok()
    }

    /// Whether the pair that was seen is still there.
    #[inline]
    pub(crate) fn has(&self, seen: Pair) -> bool {
        self.pair.load() == seen
    }

    /// Where buckets may be whose first line this is. None for the model checker, which would try each order of a
    /// look that decides nothing.
    #[inline]
    pub(crate) fn hints(&self) -> Hints {
        if cfg!(loom) { Hints::NONE } else { self.meta().hints() }
    }

    /// Hints at a bucket whose first line this is, at a step of its window.
    pub(crate) fn add_hint(&self, step: usize) {
        let hinted = |meta| Some(Meta(meta).with_hint(step).0);
        let _ = self.meta.fetch_update(Ordering::Relaxed, Ordering::Relaxed, hinted);
    }

    /// Gives `cost` tokens back that a charge took: to the level now, to the count by a credit.
    pub(crate) fn refund(&self, id: BucketId, limits: &Limits, cost: u64) -> Result<(), Miss> {
        let cost_ticks = limits.clock().ticks(cost);
        let mut pair = self.pair.load();
        loop {
            self.expect(pair, id, limits)?;
            let lower = Pair { tat: pair.tat.saturating_sub(cost_ticks), count: pair.count };
            match self.pair.compare_exchange(pair, lower) {
                Ok(()) => {
                    self.give_credit(cost);
                    return Ok(());
                }
                Err(newer) => pair = newer,
            }
        }
    }

    /// Forgets the level, as enough time would have done; the count, which others have heard, stays. `false`
    /// when the line has another owner or is changing.
    pub(crate) fn forget_level(&self, id: BucketId) -> bool {
        let mut pair = self.pair.load();
        while pair.tat != RESERVED && self.id() == id.get() {
            match self.pair.compare_exchange(pair, Pair { tat: 0, count: pair.count }) {
                Ok(()) => {
                    self.note_phantom(0, 0);
                    return true;
                }
                Err(newer) => pair = newer,
            }
        }
        false
    }

    fn take_credit(&self, most: u64) -> u64 {
        // Relaxed: credit is a sum of its own, it publishes nothing.
        let taken = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |credit| {
            (credit != 0).then(|| credit.saturating_sub(most))
        });
        taken.map_or(0, |credit| credit.min(most))
    }

    fn give_credit(&self, tokens: u64) {
        if tokens != 0 {
            self.credit.fetch_add(tokens, Ordering::Relaxed);
        }
    }

    /// Reserves the line for a new owner if it is empty, or if `is_full` says of its slot and `tat`
    /// that nothing would be lost. Returns the reserved pair.
    pub(crate) fn reserve(&self, count_floor: u64, is_full: impl Fn(u16, u64) -> bool) -> Option<Pair> {
        let pair = self.pair.load();
        if pair.tat == RESERVED {
            return None;
        }
        let slot = self.meta().slot();
        if pair.count != 0 && self.id() != 0 && !is_full(slot, pair.tat) {
            return None;
        }
        let reserved = Pair { tat: RESERVED, count: count_floor.max(pair.count + 1) };
        self.pair.compare_exchange(pair, reserved).ok()?;
        Some(reserved)
    }

    /// Names the new owner of a line that this thread reserved.
    pub(crate) fn claim(&self, id: BucketId, slot: u16, reserved: Pair) {
        self.set_id(id.get());
        self.begin_owner(slot);
        self.start.store(reserved.count, Ordering::Relaxed);
        self.phantom.store(0, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
    }

    /// Takes the next number of an owner: no note about a peer, made late, lands on the wrong one.
    fn begin_owner(&self, slot: u16) {
        let next = |meta| Some(Meta(meta).next_owner(slot).0);
        let _ = self.meta.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// Makes a reserved line live at `tat`.
    pub(crate) fn publish(&self, reserved: Pair, tat: u64) {
        let done = self.pair.compare_exchange(reserved, Pair { tat, count: reserved.count });
        debug_assert!(done.is_ok(), "only the thread that reserved a line ends the reservation");
    }

    /// Gives up a reserved line: nobody's, and the first to be taken.
    pub(crate) fn abandon(&self, reserved: Pair) {
        self.set_id(0);
        self.publish(reserved, 0);
    }

    /// Counts the level of the bucket in other ticks: `convert` makes the new `tat` of the old one.
    pub(crate) fn change_slot(&self, id: BucketId, from: u16, to: u16, convert: impl Fn(u64) -> u64) {
        let pair = self.pair.load();
        let slot = self.meta().slot();
        if pair.tat == RESERVED || self.id() != id.get() || slot != from {
            return;
        }
        let reserved = Pair { tat: RESERVED, count: pair.count };
        if self.pair.compare_exchange(pair, reserved).is_ok() {
            // Only the slot: the merging thread may note a peer at the same time.
            self.meta.fetch_xor(u64::from(from ^ to), Ordering::Relaxed);
            // Another pair in any case: a charge that was prepared in the other ticks loses its exchange.
            let tat = convert(pair.tat);
            self.publish(reserved, if tat == pair.tat { tat + 1 } else { tat });
        }
    }

    /// The bucket, all of one moment.
    pub(crate) fn view(&self) -> Look {
        let pair = self.pair.load();
        let id = self.id();
        if pair.count == 0 || (id == 0 && pair.tat != RESERVED) {
            return Look::Empty;
        }
        let meta = self.meta();
        let view = View {
            id: BucketId::from_u128(id),
            slot: meta.slot(),
            known: meta.known(),
            tat: pair.tat,
            count: pair.count,
            start: self.start.load(Ordering::Relaxed),
            phantom: self.phantom(),
        };
        // What was read before is not from after the pair that is read next.
        fence(Ordering::Acquire);
        if pair.tat == RESERVED || self.pair.load() != pair {
            return Look::Changing;
        }
        Look::Bucket(view)
    }

    /// Slot, `tat` and counted tokens of a live line.
    pub(crate) fn read(&self) -> Option<Reading> {
        let pair = self.pair.load();
        let slot = self.meta().slot();
        let start = self.start.load(Ordering::Relaxed);
        let live = pair.count != 0 && pair.tat != RESERVED && self.id() != 0;
        let phantom = self.phantom();
        live.then(|| Reading { slot, tat: pair.tat, used: pair.count.saturating_sub(start), phantom })
    }
}
