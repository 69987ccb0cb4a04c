//! How long a datagram and its acknowledgement take (RFC 6298, RFC 9002 section 5).

use std::time::Duration;

/// Before the first sample.
const INITIAL_TIMEOUT_NS: u64 = 300_000_000;
const MIN_TIMEOUT_NS: u64 = 1_000_000;
const MAX_TIMEOUT_NS: u64 = 2_000_000_000;
const MAX_BACKOFF: u32 = 11;
const _: () = assert!(MIN_TIMEOUT_NS << MAX_BACKOFF >= MAX_TIMEOUT_NS);

/// A smoothed round-trip time and its variation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RttEstimate {
    smoothed_ns: Option<u64>,
    variation_ns: u64,
    /// How often the time-out is doubled.
    backoff: u32,
}

impl RttEstimate {
    pub(super) fn sample(&mut self, rtt_ns: u64) {
        self.backoff = 0;
        let Some(smoothed) = self.smoothed_ns else {
            *self = Self { smoothed_ns: Some(rtt_ns), variation_ns: rtt_ns / 2, backoff: 0 };
            return;
        };
        let variation = smoothed.abs_diff(rtt_ns);
        self.variation_ns = self.variation_ns - self.variation_ns / 4 + variation / 4;
        self.smoothed_ns = Some(smoothed - smoothed / 8 + rtt_ns / 8);
    }

    /// Something was not acknowledged in time. What counts as lost gives no sample, so a time-out that is too short
    /// would stay too short for ever: it is doubled until there is a sample.
    pub(super) fn timed_out(&mut self) {
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
    }

    /// `None` before the first sample.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed_ns.map(Duration::from_nanos)
    }

    /// What is not acknowledged in this time counts as lost. A peer acknowledges at its next flush, not at once.
    pub(super) fn timeout(&self, flush_interval: Duration) -> Duration {
        let timeout_ns = self
            .smoothed_ns
            .map_or(INITIAL_TIMEOUT_NS, |ns| ns.saturating_add(self.variation_ns.saturating_mul(4)));
        let timeout_ns = timeout_ns.max(MIN_TIMEOUT_NS).saturating_mul(1 << self.backoff);
        Duration::from_nanos(timeout_ns.min(MAX_TIMEOUT_NS)) + flush_interval * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(20);

    #[test]
    fn the_time_out_follows_the_round_trip_and_covers_the_peers_flush() {
        let mut rtt = RttEstimate::default();
        assert_eq!(rtt.timeout(FLUSH), Duration::from_millis(340));
        for _ in 0..100 {
            rtt.sample(80_000_000);
        }
        let smoothed = rtt.smoothed().unwrap();
        assert!(smoothed.abs_diff(Duration::from_millis(80)) < Duration::from_millis(1));
        let timeout = rtt.timeout(FLUSH);
        assert!(timeout > Duration::from_millis(110) && timeout < Duration::from_millis(140), "{timeout:?}");
    }

    #[test]
    fn a_time_out_that_is_too_short_grows_until_there_is_a_sample() {
        let mut rtt = RttEstimate::default();
        rtt.sample(0);
        let before = rtt.timeout(FLUSH);
        (0..100).for_each(|_| rtt.timed_out());
        assert_eq!(rtt.timeout(FLUSH), Duration::from_nanos(MAX_TIMEOUT_NS) + FLUSH * 2);
        rtt.sample(0);
        assert_eq!(rtt.timeout(FLUSH), before);
    }

    #[test]
    fn absurd_samples_are_bounded() {
        let mut rtt = RttEstimate::default();
        for sample in [u64::MAX, 0, u64::MAX, u64::MAX] {
            rtt.sample(sample);
        }
        assert!(rtt.timeout(FLUSH) <= Duration::from_nanos(MAX_TIMEOUT_NS) + FLUSH * 2);
    }
}
