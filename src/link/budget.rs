//! How many bytes may go to a peer: a token bucket.

use std::time::Duration;

use super::seal::MAX_DATAGRAM_BYTES;
use crate::time::MonotonicNs;

/// What IPv6 and UDP add to a datagram.
pub(super) const OVERHEAD_BYTES: u64 = 48;
/// One flush sends at most as much as the rate allows in this many.
const BURST_FLUSHES: u32 = 2;
const SECOND_NS: u128 = crate::time::NS_PER_SECOND as u128;

/// Bytes that may be sent now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    bytes_per_second: u64,
    burst_bytes: i64,
    /// Below zero after heartbeats, which are always sent.
    bytes: i64,
    /// Nanoseconds times bytes per second, less than a byte.
    remainder: u128,
    filled_at: MonotonicNs,
}

impl Budget {
    pub(super) fn new(bytes_per_second: u64, flush_interval: Duration, now: MonotonicNs) -> Self {
        let burst = u128::from(bytes_per_second) * (flush_interval * BURST_FLUSHES).as_nanos() / SECOND_NS;
        let full_datagram = MAX_DATAGRAM_BYTES as u64 + OVERHEAD_BYTES;
        let burst_bytes = i64::try_from(burst).unwrap_or(i64::MAX / 2).max(full_datagram as i64);
        Self { bytes_per_second, burst_bytes, bytes: burst_bytes, remainder: 0, filled_at: now }
    }

    pub(super) fn fill(&mut self, now: MonotonicNs) {
        let elapsed_ns = now.since(self.filled_at);
        self.filled_at = now;
        let earned = u128::from(elapsed_ns) * u128::from(self.bytes_per_second) + self.remainder;
        self.remainder = earned % SECOND_NS;
        let earned = i64::try_from(earned / SECOND_NS).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(earned).min(self.burst_bytes);
    }

    pub(super) const fn available(&self) -> u64 {
        if self.bytes > 0 { self.bytes as u64 } else { 0 }
    }

    /// Takes a datagram's bytes, and what the network adds to them.
    pub(super) fn spend(&mut self, datagram_bytes: usize) {
        self.bytes = (self.bytes - (datagram_bytes as u64 + OVERHEAD_BYTES) as i64).max(-self.burst_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLUSH: Duration = Duration::from_millis(20);

    #[test]
    fn a_slow_budget_still_lets_a_full_datagram_pass() {
        assert!(Budget::new(1, FLUSH, MonotonicNs(0)).available() >= MAX_DATAGRAM_BYTES as u64);
    }

    #[test]
    fn what_passed_the_cap_is_made_up_for_by_a_burst_at_most() {
        let mut budget = Budget::new(1_000_000, FLUSH, MonotonicNs(0));
        let burst = budget.available();
        (0..10_000).for_each(|_| budget.spend(1000));
        budget.fill(MonotonicNs(0).after(FLUSH * BURST_FLUSHES * 2));
        assert!(budget.available().abs_diff(burst) <= 1);
    }

    proptest! {
        #[test]
        fn no_more_is_spent_than_the_rate_and_a_burst(
            rate in 1_000_u64..100_000_000, steps in proptest::collection::vec(0_u64..50_000_000, 1..200),
        ) {
            let mut budget = Budget::new(rate, FLUSH, MonotonicNs(0));
            let (burst, mut now, mut spent) = (budget.available(), 0, 0_u64);
            for step in steps {
                now += step;
                budget.fill(MonotonicNs(now));
                while budget.available() >= 148 {
                    budget.spend(100);
                    spent += 148;
                }
            }
            let earned = u128::from(now) * u128::from(rate) / SECOND_NS;
            prop_assert!(u128::from(spent) <= u128::from(burst) + earned + 1);
        }
    }
}
