//! How fast others may ask, and how long a wrong token waits. Pure: time comes in.

use std::time::Duration;

use crate::bucket::gcra::{self, Verdict};
use crate::time::MonotonicNs;

/// The wait after the first wrong token; each one more doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// One wrong token is forgotten in this time.
const FORGET: Duration = Duration::from_secs(10);
/// More are not remembered: the wait is the longest by then.
const MOST_WRONG: u32 = 6;

/// A limit on a stream of requests, by the same rule as a bucket's, in nanoseconds.
#[derive(Debug)]
pub(super) struct Throttle {
    tat_ns: u64,
    interval_ns: u64,
    burst: u64,
}

impl Throttle {
    /// One request each `interval`, and up to `burst` at once.
    pub(super) fn new(interval: Duration, burst: u64) -> Self {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self { tat_ns: 0, interval_ns, burst }
    }

    /// Takes one request, or says how long to wait for it.
    pub(super) fn take(&mut self, now: MonotonicNs) -> Result<(), Duration> {
        let most = self.interval_ns.saturating_mul(self.burst);
        match gcra::decide(self.tat_ns, now.0, self.interval_ns, most) {
            Verdict::Allowed { tat } => {
                self.tat_ns = tat;
                Ok(())
            }
            Verdict::Denied { wait } => Err(Duration::from_nanos(wait)),
        }
    }
}

/// How long the next wrong token waits for its answer. A right one never waits.
#[derive(Debug, Default)]
pub(super) struct WrongTokens {
    count: u32,
    /// When the oldest of them is forgotten.
    forget_at: MonotonicNs,
}

impl WrongTokens {
    /// Counts one more at `now`, and says how long its answer is held back.
    pub(super) fn wait(&mut self, now: MonotonicNs) -> Duration {
        while self.count > 0 && now >= self.forget_at {
            self.count -= 1;
            self.forget_at = self.forget_at.after(FORGET);
        }
        if self.count == 0 {
            self.forget_at = now.after(FORGET);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.count);
        self.count = (self.count + 1).min(MOST_WRONG);
        wait.min(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonotonicNs {
        MonotonicNs(ms * 1_000_000)
    }

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let mut throttle = Throttle::new(Duration::from_millis(100), 3);
        assert!((0..3).all(|_| throttle.take(at(1000)).is_ok()));
        assert_eq!(throttle.take(at(1000)), Err(Duration::from_millis(100)));
        assert_eq!(throttle.take(at(1099)), Err(Duration::from_millis(1)));
        assert!(throttle.take(at(1100)).is_ok() && throttle.take(at(1100)).is_err());
        assert!((0..3).all(|_| throttle.take(at(9000)).is_ok()) && throttle.take(at(9000)).is_err());
    }

    #[test]
    fn wrong_tokens_wait_longer_and_longer_within_a_bound_and_are_forgotten() {
        let mut wrong = WrongTokens::default();
        let waits: Vec<u128> = (0..8).map(|_| wrong.wait(at(0)).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(wrong.wait(at(3_600_000)).as_millis(), 100);
        assert_eq!(wrong.wait(at(3_605_000)).as_millis(), 200);
        assert_eq!(wrong.wait(at(3_610_000)).as_millis(), 200, "one of two is forgotten");
    }
}
