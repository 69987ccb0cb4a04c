//! One bucket in one cache line, and the moves a line can make.
//!
//! A line is *empty* until its first owner, then *live*, and *reserved* while it changes owner or
//! unit. Identity, slot and start change only while it is reserved, and every reservation for a new
//! owner takes a count that the line never had. So no pair of `(tat, count)` ever comes back under
//! another identity: who reads the pair, then the identity, and then exchanges the pair against what
//! was read, has charged the bucket that was meant, or nothing.

use super::gcra::{self, Verdict};
use super::hash::BucketId;
use super::policy::Limits;
use super::sync::{AtomicPair, AtomicU64, Ordering, Pair};

/// The `tat` of a line that is changing hands.
const RESERVED: u64 = u64::MAX;
/// The slot's place in `meta`.
const SLOT_MASK: u64 = 0xffff;

/// A bucket.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Line {
    pair: AtomicPair,
    id_low: AtomicU64,
    id_high: AtomicU64,
    /// The slot of the limits whose ticks `tat` is counted in.
    meta: AtomicU64,
    /// The count at which this owner began.
    start: AtomicU64,
    /// Ticks charged for peers that cannot be heard.
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

/// How a charge on a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Decided: whether allowed, the level after it, and the ticks to wait if denied.
    Decided { allowed: bool, level: u64, wait: u64 },
    /// The line is counted in the ticks of this other slot.
    OtherSlot(u16),
    /// The line has another owner now, or is changing.
    Lost,
}

impl Line {
    fn id(&self) -> u128 {
        // Relaxed: ordered by the acquire load of the pair before it, checked by the exchange after.
        let low = self.id_low.load(Ordering::Relaxed);
        let high = self.id_high.load(Ordering::Relaxed);
        (u128::from(high) << 64) | u128::from(low)
    }

    fn set_id(&self, id: u128) {
        self.id_low.store(id as u64, Ordering::Relaxed);
        self.id_high.store((id >> 64) as u64, Ordering::Relaxed);
    }

    /// Whether the line seems to hold `id`: a hint from one load or two, which a charge makes sure of.
    #[inline]
    pub(crate) fn may_hold(&self, id: BucketId) -> bool {
        self.id_low.load(Ordering::Relaxed) == id.get() as u64 && self.id() == id.get()
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
        self.pair.load().count == 0
    }

    /// Charges `cost` tokens if they fit.
    pub(crate) fn charge(&self, id: BucketId, limits: &Limits, cost: u64, now: u64) -> Outcome {
        let cost_ticks = limits.clock().ticks(cost);
        let mut pair = self.pair.load();
        loop {
            if pair.tat == RESERVED || self.id() != id.get() {
                return Outcome::Lost;
            }
            let slot = (self.meta.load(Ordering::Relaxed) & SLOT_MASK) as u16;
            if slot != limits.slot() {
                return Outcome::OtherSlot(slot);
            }
            let level = gcra::level(pair.tat, now);
            let tat = match gcra::decide(pair.tat, now, cost_ticks, limits.burst_ticks()) {
                Verdict::Denied { wait } => return Outcome::Decided { allowed: false, level, wait },
                Verdict::Allowed { .. } if cost == 0 => {
                    return Outcome::Decided { allowed: true, level, wait: 0 };
                }
                Verdict::Allowed { tat } => tat,
            };
            let credit = self.take_credit(cost);
            match self.pair.compare_exchange(pair, Pair { tat, count: pair.count + cost - credit }) {
                Ok(()) => return Outcome::Decided { allowed: true, level: tat - now, wait: 0 },
                Err(newer) => {
                    self.give_credit(credit);
                    pair = newer;
                }
            }
        }
    }

    /// Gives `cost` tokens back that a charge took: to the level now, to the count by a credit.
    pub(crate) fn refund(&self, id: BucketId, limits: &Limits, cost: u64) {
        let cost_ticks = limits.clock().ticks(cost);
        let mut pair = self.pair.load();
        while pair.tat != RESERVED && self.id() == id.get() {
            let lower = Pair { tat: pair.tat.saturating_sub(cost_ticks), count: pair.count };
            match self.pair.compare_exchange(pair, lower) {
                Ok(()) => return self.give_credit(cost),
                Err(newer) => pair = newer,
            }
        }
    }

    fn take_credit(&self, most: u64) -> u64 {
        // Relaxed: credit is a sum of its own, it publishes nothing.
        let mut credit = self.credit.load(Ordering::Relaxed);
        while credit != 0 {
            let taken = credit.min(most);
            match self.credit.compare_exchange(credit, credit - taken, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(newer) => credit = newer,
            }
        }
        0
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
        let slot = (self.meta.load(Ordering::Relaxed) & SLOT_MASK) as u16;
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
        self.meta.store(u64::from(slot), Ordering::Relaxed);
        self.start.store(reserved.count, Ordering::Relaxed);
        self.phantom.store(0, Ordering::Relaxed);
        self.credit.store(0, Ordering::Relaxed);
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
        let slot = (self.meta.load(Ordering::Relaxed) & SLOT_MASK) as u16;
        if pair.tat == RESERVED || self.id() != id.get() || slot != from {
            return;
        }
        let reserved = Pair { tat: RESERVED, count: pair.count };
        if self.pair.compare_exchange(pair, reserved).is_ok() {
            self.meta.store(u64::from(to), Ordering::Relaxed);
            self.publish(reserved, convert(pair.tat));
        }
    }

    /// Slot, `tat` and counted tokens of a live line.
    pub(crate) fn read(&self) -> Option<(u16, u64, u64)> {
        let pair = self.pair.load();
        let slot = (self.meta.load(Ordering::Relaxed) & SLOT_MASK) as u16;
        let start = self.start.load(Ordering::Relaxed);
        let live = pair.count != 0 && pair.tat != RESERVED && self.id() != 0;
        live.then(|| (slot, pair.tat, pair.count.saturating_sub(start)))
    }
}
