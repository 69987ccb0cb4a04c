//! GCRA, the virtual-scheduling form of a token bucket (ITU-T I.371, annex A), on one integer.
//!
//! Time is counted in the limit's own *token ticks*: one token is exactly `2^fraction_bits` ticks,
//! and [`TokenClock`] turns monotonic nanoseconds into ticks at the limit's rate. A charge of `c`
//! tokens moves the theoretical arrival time `tat` by a whole number of ticks, so nothing is rounded
//! from one charge to the next and the long-run rate is that of the multiplier, exact to 2^-61.
//! A level is in tokens by construction and survives a change of rate as it is.

use std::fmt;

use crate::time::{MonotonicNs, NS_PER_MS, NS_PER_SECOND};

/// Tick rate aimed at: finer than a nanosecond, and 34 years until 2^62 ticks.
const TARGET_TICKS_PER_SECOND: u128 = 1 << 32;
/// By so many bits the ticks of a clock that goes on may be finer than those of a new one at its rate: it lasts four
/// years still, and a rate that becomes eight times as fast needs no other ticks.
const MAX_BITS_TOO_FINE: u32 = 3;
/// And coarser: by 15 ns at most.
const MAX_BITS_TOO_COARSE: u32 = 6;
/// Keeps the largest burst (2^31 tokens) below 2^61 ticks.
const MAX_FRACTION_BITS: u32 = 30;
/// A level between nodes is in 2^-16 of a token.
pub const FIXED_BITS: u32 = 16;
/// The highest level a bucket can be brought to: a clock's reading and this stay below 2^63.
pub const MAX_LEVEL_TICKS: u64 = 1 << 62;
/// The smallest part of a nanosecond that rounding up still counts: above the multiplier's error.
const ROUNDING_BITS: u32 = 20;

/// A rate as a ratio, as people write it: so many tokens in so many nanoseconds.
///
/// Between 1 token a day and 10,000,000 tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    tokens: u64,
    per_ns: u64,
}

/// Why a rate cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Below one token a day.
    #[error("the rate is below 1 token a day, the slowest there is")]
    TooSlow,
    /// Above ten million tokens a second.
    #[error("the rate is above 10,000,000 tokens a second, the fastest there is")]
    TooFast,
}

impl Rate {
    /// The fastest rate, in tokens a second.
    pub const MAX_PER_SECOND: u64 = 10_000_000;
    /// The slowest rate is one token in this many nanoseconds, a day.
    pub const DAY_NS: u64 = 86_400 * NS_PER_SECOND;

    /// `tokens` in every `per_ns` nanoseconds.
    ///
    /// # Errors
    /// When the rate is outside 1 a day to 10^7 a second.
    pub fn new(tokens: u64, per_ns: u64) -> Result<Self, RateError> {
        let scaled = u128::from(tokens) * u128::from(NS_PER_SECOND);
        if u128::from(tokens) * u128::from(Self::DAY_NS) < u128::from(per_ns) || tokens == 0 {
            return Err(RateError::TooSlow);
        }
        if per_ns == 0 || scaled > u128::from(Self::MAX_PER_SECOND) * u128::from(per_ns) {
            return Err(RateError::TooFast);
        }
        let divisor = greatest_common_divisor(tokens, per_ns);
        Ok(Self { tokens: tokens / divisor, per_ns: per_ns / divisor })
    }

    /// Tokens and nanoseconds, in lowest terms.
    #[must_use]
    pub const fn ratio(self) -> (u64, u64) {
        (self.tokens, self.per_ns)
    }

    /// Seconds that `tokens` take to arrive, rounded up.
    #[must_use]
    pub fn seconds_for(self, tokens: u64) -> u64 {
        let per_second = u128::from(self.tokens) * u128::from(NS_PER_SECOND);
        let seconds = (u128::from(tokens) * u128::from(self.per_ns)).div_ceil(per_second);
        u64::try_from(seconds).unwrap_or(u64::MAX)
    }
}

/// As people write it, in the shortest unit of time that gives whole tokens: `100/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, per_ns } = *self;
        for (unit, unit_s) in [("s", 1), ("min", 60), ("h", 3600), ("day", 86_400)] {
            let in_unit = u128::from(tokens) * u128::from(unit_s * NS_PER_SECOND);
            if in_unit.is_multiple_of(u128::from(per_ns)) {
                return write!(f, "{}/{unit}", in_unit / u128::from(per_ns));
            }
        }
        if per_ns.is_multiple_of(NS_PER_SECOND) {
            return write!(f, "{tokens}/{}s", per_ns / NS_PER_SECOND);
        }
        // Rates are written in milliseconds at the finest, but lowest terms may have divided them.
        let scale = NS_PER_MS / greatest_common_divisor(NS_PER_MS, per_ns);
        write!(
            f,
            "{}/{}ms",
            u128::from(tokens) * u128::from(scale),
            u128::from(per_ns) * u128::from(scale) / u128::from(NS_PER_MS)
        )
    }
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A binary fraction: `value * 2^-shift`, rounded up, for one multiplication in place of a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reciprocal {
    multiplier: u64,
    shift: u32,
}

impl Reciprocal {
    /// `numerator / denominator`, with 62 significant bits, rounded up.
    fn of(numerator: u128, denominator: u128) -> Self {
        let mut shift = 0;
        // The shift is bounded by the rates allowed; numerator and denominator are below 2^80.
        let (mut n, mut d) = (numerator, denominator);
        while n.div_ceil(d) < (1 << 61) {
            if n.leading_zeros() > 1 {
                n <<= 1;
            } else {
                d = d.div_ceil(2);
            }
            shift += 1;
        }
        Self { multiplier: u64::try_from(n.div_ceil(d)).unwrap_or(u64::MAX), shift }
    }

    const fn scale(self, value: u64) -> u64 {
        ((value as u128 * self.multiplier as u128) >> self.shift) as u64
    }

    fn scale_up(self, value: u64) -> u128 {
        let product = u128::from(value) * u128::from(self.multiplier);
        let one = 1_u128 << self.shift;
        let carry = one - (one >> ROUNDING_BITS.min(self.shift));
        (product + carry) >> self.shift
    }
}

/// The clock of one limit: how many token ticks its rate has produced since an origin.
///
/// It never goes back, also when the rate changes: [`TokenClock::with_rate`] goes on from the tick
/// that the old rate had reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClock {
    origin_ns: u64,
    origin_ticks: u64,
    ticks_per_ns: Reciprocal,
    ns_per_tick: Reciprocal,
    fraction_bits: u32,
}

impl TokenClock {
    /// A clock for `rate` that reads zero at `origin`, with ticks finer than a nanosecond where the
    /// range allows (80 µs at one token a day, the coarsest).
    #[must_use]
    pub fn new(rate: Rate, origin: MonotonicNs) -> Self {
        Self::build(rate, origin, 0, fraction_bits_for(rate))
    }

    /// The same clock going on at another rate from `now`, or `None` when the new rate needs another
    /// fraction of a token, or this clock is at half of its range: levels must then be carried over.
    #[must_use]
    pub fn with_rate(&self, rate: Rate, now: MonotonicNs) -> Option<Self> {
        let wanted = fraction_bits_for(rate);
        let suits = self.fraction_bits <= wanted + MAX_BITS_TOO_FINE
            && wanted <= self.fraction_bits + MAX_BITS_TOO_COARSE;
        let reading = self.at(now);
        (suits && reading < MAX_LEVEL_TICKS / 2).then(|| Self::build(rate, now, reading, self.fraction_bits))
    }

    fn build(rate: Rate, origin: MonotonicNs, origin_ticks: u64, fraction_bits: u32) -> Self {
        let ticks = u128::from(rate.tokens) << fraction_bits;
        let per_ns = u128::from(rate.per_ns);
        Self {
            origin_ns: origin.0,
            origin_ticks,
            ticks_per_ns: Reciprocal::of(ticks, per_ns),
            ns_per_tick: Reciprocal::of(per_ns, ticks),
            fraction_bits,
        }
    }

    /// When the clock began to go at this rate, and what it read then.
    #[must_use]
    pub(super) const fn origin(&self) -> (MonotonicNs, u64) {
        (MonotonicNs(self.origin_ns), self.origin_ticks)
    }

    /// The clock that [`TokenClock::origin`] and its fraction describe; `None` for one that cannot be.
    #[must_use]
    pub(super) fn resume(
        rate: Rate,
        origin: MonotonicNs,
        origin_ticks: u64,
        fraction_bits: u32,
    ) -> Option<Self> {
        let can_be = fraction_bits <= MAX_FRACTION_BITS && origin_ticks < MAX_LEVEL_TICKS;
        can_be.then(|| Self::build(rate, origin, origin_ticks, fraction_bits))
    }

    /// Ticks at `now`.
    #[must_use]
    pub const fn at(&self, now: MonotonicNs) -> u64 {
        self.origin_ticks + self.ticks_per_ns.scale(now.0.saturating_sub(self.origin_ns))
    }

    /// Nanoseconds that `ticks` take to pass, rounded up.
    #[must_use]
    pub fn duration_ns(&self, ticks: u64) -> u64 {
        u64::try_from(self.ns_per_tick.scale_up(ticks)).unwrap_or(u64::MAX)
    }

    /// The same in milliseconds, rounded up. Of the largest burst at the slowest rate the nanoseconds are
    /// more than 64 bits hold.
    #[must_use]
    pub fn duration_ms(&self, ticks: u64) -> u64 {
        let ns = self.ns_per_tick.scale_up(ticks);
        // Nearly always: a division of 64 bits is many times as fast.
        if let Ok(ns) = u64::try_from(ns) {
            return ns.div_ceil(NS_PER_MS);
        }
        u64::try_from(ns.div_ceil(u128::from(NS_PER_MS))).unwrap_or(u64::MAX)
    }

    /// Ticks of whole `tokens`.
    #[must_use]
    pub const fn ticks(&self, tokens: u64) -> u64 {
        tokens << self.fraction_bits
    }

    /// Whole tokens in `ticks`, rounded down.
    #[must_use]
    pub const fn tokens(&self, ticks: u64) -> u64 {
        ticks >> self.fraction_bits
    }

    /// Ticks that arrive in `duration_ns`, rounded down.
    #[must_use]
    pub const fn ticks_in(&self, duration_ns: u64) -> u64 {
        self.ticks_per_ns.scale(duration_ns)
    }

    /// `ticks` in 1/65536 of a token, rounded up: the unit of levels between nodes.
    #[must_use]
    pub const fn to_fixed(&self, ticks: u64) -> u64 {
        match self.fraction_bits.checked_sub(FIXED_BITS) {
            Some(finer) => ticks.div_ceil(1 << finer),
            None => ticks.saturating_mul(1 << (FIXED_BITS - self.fraction_bits)),
        }
    }

    /// Ticks of a level in 1/65536 of a token, rounded up, at most [`MAX_LEVEL_TICKS`].
    #[must_use]
    pub const fn from_fixed(&self, fixed: u64) -> u64 {
        let ticks = match self.fraction_bits.checked_sub(FIXED_BITS) {
            Some(finer) => fixed.saturating_mul(1 << finer),
            None => fixed.div_ceil(1 << (FIXED_BITS - self.fraction_bits)),
        };
        if ticks < MAX_LEVEL_TICKS { ticks } else { MAX_LEVEL_TICKS }
    }

    /// Ticks in a token, as a power of two.
    #[must_use]
    pub const fn fraction_bits(&self) -> u32 {
        self.fraction_bits
    }
}

fn fraction_bits_for(rate: Rate) -> u32 {
    let wanted = TARGET_TICKS_PER_SECOND * u128::from(rate.per_ns)
        / (u128::from(rate.tokens) * u128::from(NS_PER_SECOND));
    (u128::BITS - 1 - wanted.max(1).leading_zeros()).min(MAX_FRACTION_BITS)
}

/// What one charge did, in ticks of the limit's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The charge fits; this is the new `tat`.
    Allowed {
        /// The theoretical arrival time after the charge.
        tat: u64,
    },
    /// The charge does not fit before this many ticks have passed.
    Denied {
        /// Ticks to wait.
        wait: u64,
    },
}

/// Decides a charge of `cost` ticks on a bucket at `tat` that holds `burst` ticks.
#[must_use]
pub const fn decide(tat: u64, now: u64, cost: u64, burst: u64) -> Verdict {
    let base = if tat > now { tat } else { now };
    let charged = base + cost;
    if charged - now <= burst || cost == 0 {
        Verdict::Allowed { tat: charged }
    } else {
        Verdict::Denied { wait: charged - now - burst }
    }
}

/// The level of a bucket in ticks: what has been used and has not drained.
#[must_use]
pub const fn level(tat: u64, now: u64) -> u64 {
    tat.saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(tokens: u64, per_ns: u64) -> Rate {
        Rate::new(tokens, per_ns).unwrap()
    }

    #[test]
    fn rates_are_shown_as_people_write_them() {
        for (tokens, per_ms, text) in [
            (100, 1000, "100/s"),
            (5000, 60_000, "5000/min"),
            (1, 86_400_000, "1/day"),
            (10, 5000, "2/s"),
            (1, 7000, "1/7s"),
            (7, 250, "28/s"),
            (1, 1500, "40/min"),
            (1, 7001, "1/7001ms"),
        ] {
            assert_eq!(Rate::new(tokens, per_ms * NS_PER_MS).unwrap().to_string(), text);
        }
    }

    #[test]
    fn rates_outside_the_range_are_refused() {
        assert_eq!(Rate::new(0, 1), Err(RateError::TooSlow));
        assert_eq!(Rate::new(1, Rate::DAY_NS + 1), Err(RateError::TooSlow));
        assert_eq!(Rate::new(10_000_001, NS_PER_SECOND), Err(RateError::TooFast));
        assert!(Rate::new(1, Rate::DAY_NS).is_ok());
        assert!(Rate::new(10_000_000, NS_PER_SECOND).is_ok());
    }

    #[test]
    fn a_whole_token_arrives_on_its_nanosecond() {
        for (tokens, per) in
            [(100, NS_PER_SECOND), (3, NS_PER_SECOND), (1, Rate::DAY_NS), (7_654_321, NS_PER_SECOND)]
        {
            let clock = TokenClock::new(rate(tokens, per), MonotonicNs(5));
            for n in [1_u64, 2, 1000, 9_999] {
                let due = (u128::from(n) * u128::from(per)).div_ceil(u128::from(tokens)) as u64;
                assert_eq!(clock.tokens(clock.at(MonotonicNs(5 + due))), n, "{tokens}/{per} token {n}");
                assert_eq!(clock.tokens(clock.at(MonotonicNs(5 + due - 1))), n - 1);
            }
        }
    }

    #[test]
    fn the_clock_lasts_thirty_years_at_every_rate() {
        let thirty_years = 30 * 366 * Rate::DAY_NS;
        for (tokens, per) in [(10_000_000, NS_PER_SECOND), (1, Rate::DAY_NS), (1, NS_PER_SECOND)] {
            let clock = TokenClock::new(rate(tokens, per), MonotonicNs(0));
            let reading = clock.at(MonotonicNs(thirty_years));
            assert!(reading + clock.ticks(1 << 31) < 1 << 63);
        }
    }

    #[test]
    fn a_clock_lasts_four_years_after_its_rate_was_raised_as_often_as_you_like() {
        let four_years = 4 * 366 * Rate::DAY_NS;
        for step in [2, 3, 5, 8, 60] {
            let mut clock = TokenClock::new(rate(1, Rate::DAY_NS), MonotonicNs(0));
            let mut tokens = 1;
            while let Ok(faster) = Rate::new(tokens, Rate::DAY_NS) {
                let next = clock.with_rate(faster, MonotonicNs(0));
                clock = next.unwrap_or_else(|| TokenClock::new(faster, MonotonicNs(0)));
                assert!(clock.at(MonotonicNs(four_years)) < MAX_LEVEL_TICKS, "{tokens} a day");
                tokens *= step;
            }
        }
    }

    #[test]
    fn a_clock_at_half_of_its_range_does_not_go_on_at_another_rate() {
        let clock = TokenClock::new(rate(100, NS_PER_SECOND), MonotonicNs(0));
        let late = MonotonicNs(30 * 366 * Rate::DAY_NS);
        assert!(clock.at(late) >= MAX_LEVEL_TICKS / 2);
        assert_eq!(clock.with_rate(rate(200, NS_PER_SECOND), late), None);
    }

    #[test]
    fn times_are_right_over_the_whole_range_of_rates_and_bursts() {
        for (tokens, per) in
            [(10_000_000, NS_PER_SECOND), (1, NS_PER_SECOND), (7, 3 * NS_PER_SECOND), (1, Rate::DAY_NS)]
        {
            let clock = TokenClock::new(rate(tokens, per), MonotonicNs(0));
            for burst in [1_u64, 1000, 213_504, 1 << 31] {
                let ns = u128::from(burst) * u128::from(per);
                let in_units = |unit: u64| ns.div_ceil(u128::from(unit) * u128::from(tokens));
                let ms = u128::from(clock.duration_ms(clock.ticks(burst)));
                // The multiplier is rounded up: in five million years, by less than a millisecond.
                assert!((0..=1).contains(&(ms - in_units(NS_PER_MS))), "{burst} at {tokens}/{per}");
                let seconds = rate(tokens, per).seconds_for(burst);
                assert_eq!(u128::from(seconds), in_units(NS_PER_SECOND), "{burst} at {tokens}/{per}");
                // RFC 9651, 3.3.1: a structured-field integer.
                assert!(seconds < 1_000_000_000_000_000);
            }
        }
    }

    #[test]
    fn a_level_between_nodes_is_never_rounded_down() {
        for (tokens, per) in [(10_000_000, NS_PER_SECOND), (1, NS_PER_SECOND), (1, Rate::DAY_NS)] {
            let clock = TokenClock::new(rate(tokens, per), MonotonicNs(0));
            for level in [0, 1, 255, 65_537, clock.ticks(3), clock.ticks(1 << 31)] {
                let there_and_back = clock.from_fixed(clock.to_fixed(level));
                assert!((level..=level + clock.ticks(1)).contains(&there_and_back), "{tokens}/{per} {level}");
            }
            assert_eq!(clock.from_fixed(u64::MAX), MAX_LEVEL_TICKS.min(clock.from_fixed(u64::MAX)));
        }
    }

    #[test]
    fn a_change_of_rate_goes_on_from_where_the_clock_was() {
        let clock = TokenClock::new(rate(100, NS_PER_SECOND), MonotonicNs(0));
        let at = MonotonicNs(10 * NS_PER_SECOND);
        let faster = clock.with_rate(rate(200, NS_PER_SECOND), at).unwrap();
        assert_eq!(faster.at(at), clock.at(at));
        assert_eq!(faster.tokens(faster.at(MonotonicNs(at.0 + NS_PER_SECOND))), 1200);
        assert!(clock.with_rate(rate(10_000_000, NS_PER_SECOND), at).is_none());
    }

    proptest! {
        #[test]
        fn long_run_rate_is_exact_to_a_ten_thousandth(
            tokens in 1_u64..=10_000_000, per_s in 1_u64..=86_400, seconds in 1_u64..100_000_000,
        ) {
            let Ok(rate) = Rate::new(tokens, per_s * NS_PER_SECOND) else { return Ok(()) };
            let clock = TokenClock::new(rate, MonotonicNs(0));
            let exact = u128::from(seconds) * u128::from(tokens) / u128::from(per_s);
            let got = u128::from(clock.tokens(clock.at(MonotonicNs(seconds * NS_PER_SECOND))));
            prop_assert_eq!(got, exact);
        }

        #[test]
        fn waiting_as_told_is_enough_and_a_little_less_is_not(
            tokens in 1_u64..=10_000_000, per_s in 1_u64..=86_400, burst in 1_u64..1_000_000,
            used in 0_u64..1_000_000, cost in 1_u64..1_000_000,
        ) {
            let Ok(rate) = Rate::new(tokens, per_s * NS_PER_SECOND) else { return Ok(()) };
            let clock = TokenClock::new(rate, MonotonicNs(0));
            let (cost, now) = (cost.min(burst), MonotonicNs(77_777));
            let tat = clock.at(now) + clock.ticks(used.min(burst));
            let verdict = decide(tat, clock.at(now), clock.ticks(cost), clock.ticks(burst));
            if let Verdict::Denied { wait } = verdict {
                let wait_ns = clock.duration_ns(wait);
                let then = clock.at(MonotonicNs(now.0 + wait_ns));
                let later = decide(tat, then, clock.ticks(cost), clock.ticks(burst));
                prop_assert!(matches!(later, Verdict::Allowed { .. }), "{:?}", later);
                let early = clock.at(MonotonicNs(now.0 + wait_ns.saturating_sub(2)));
                let tick_ns = clock.duration_ns(1);
                if wait_ns > 2 && tick_ns <= 1 {
                    let sooner = decide(tat, early, clock.ticks(cost), clock.ticks(burst));
                    prop_assert!(matches!(sooner, Verdict::Denied { .. }), "{:?}", sooner);
                }
            }
        }
    }
}
