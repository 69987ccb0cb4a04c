//! The limits that a bucket is counted in.

use super::charge::{Answer, Charge};
use super::gcra::{self, Rate, TokenClock};
use super::spec::LimitSpec;
use crate::time::MonotonicNs;

/// One limit: a rate's clock and a burst, known to buckets by its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    clock: TokenClock,
    burst_ticks: u64,
    burst: u64,
    slot: u16,
    rate: Rate,
}

impl Limits {
    /// Limits in `slot`, with a clock that starts at `now`.
    #[must_use]
    pub fn new(slot: u16, spec: LimitSpec, now: MonotonicNs) -> Self {
        Self::with_clock(slot, spec, TokenClock::new(spec.rate, now))
    }

    /// The same limits as `spec` has them from `now` on, in their slot; `None` when they need other ticks.
    pub(super) fn changed_to(&self, spec: LimitSpec, now: MonotonicNs) -> Option<Self> {
        let same = (self.rate == spec.rate).then_some(self.clock);
        let clock = same.or_else(|| self.clock.with_rate(spec.rate, now))?;
        Some(Self::with_clock(self.slot, spec, clock))
    }

    fn with_clock(slot: u16, spec: LimitSpec, clock: TokenClock) -> Self {
        Self { clock, burst_ticks: clock.ticks(spec.burst), burst: spec.burst, slot, rate: spec.rate }
    }

    /// The slot that buckets name.
    #[must_use]
    pub const fn slot(&self) -> u16 {
        self.slot
    }

    /// Tokens a full bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The same in ticks.
    #[must_use]
    pub const fn burst_ticks(&self) -> u64 {
        self.burst_ticks
    }

    /// Whether more than half of a bucket is used at this level, in ticks: such a bucket is told to peers first.
    #[inline]
    #[must_use]
    pub const fn is_near(&self, level: u64) -> bool {
        level > self.burst_ticks / 2
    }

    /// Tokens that arrive.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The clock of its ticks.
    #[must_use]
    pub const fn clock(&self) -> &TokenClock {
        &self.clock
    }

    /// Seconds in which an empty bucket fills, rounded up, at least 1.
    #[must_use]
    pub fn window_seconds(&self) -> u64 {
        self.rate.seconds_for(self.burst).max(1)
    }

    /// Seconds over which `remaining` tokens can be spent at the rate, rounded up; with none left, until
    /// there surely is one.
    #[must_use]
    pub fn spending_seconds(&self, remaining: u64) -> u64 {
        self.clock.duration_ms(self.clock.ticks(remaining.max(1))).div_ceil(1000)
    }

    /// What to tell the client of a charge.
    #[must_use]
    pub fn answer(&self, charge: &Charge) -> Answer {
        Answer {
            allowed: charge.allowed,
            limit: self.burst,
            remaining: self.clock.tokens(self.burst_ticks.saturating_sub(charge.level)),
            reset_ms: self.clock.duration_ms(charge.level),
            retry_after_ms: if charge.wait == 0 { 0 } else { self.clock.duration_ms(charge.wait) },
        }
    }
}

/// A level in another limit's ticks, the same number of tokens, or as many as ticks can count.
#[must_use]
pub(crate) fn convert_level(level: u64, from: &Limits, to: &Limits) -> u64 {
    let (from, to) = (from.clock.fraction_bits(), to.clock.fraction_bits());
    let level = u128::from(level);
    let converted = if to >= from { level << (to - from) } else { level >> (from - to) };
    converted.min(u128::from(gcra::MAX_LEVEL_TICKS)) as u64
}

/// The level of `tat` under `limits`, in ticks.
#[must_use]
pub(crate) fn level_at(tat: u64, limits: &Limits, now: MonotonicNs) -> u64 {
    gcra::level(tat, limits.clock.at(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_of_many_tokens_stays_one_in_finer_ticks() {
        let limits = |tokens| Limits::new(0, LimitSpec::per_second(tokens, 1 << 31).unwrap(), MonotonicNs(0));
        let (fast, slow) = (limits(Rate::MAX_PER_SECOND), limits(1));
        let debt = 16 << 31;
        assert_eq!(convert_level(fast.clock().ticks(debt), &fast, &slow), gcra::MAX_LEVEL_TICKS);
        assert_eq!(convert_level(fast.clock().ticks(7), &fast, &slow), slow.clock().ticks(7));
        assert_eq!(convert_level(slow.clock().ticks(7), &slow, &fast), fast.clock().ticks(7));
    }
}
