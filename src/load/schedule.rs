//! When requests are due.
//!
//! Closed loop: whenever a connection has room. Open loop: at fixed times, whatever the server does.
//! There a request's latency counts from the time it was due, not from when it was sent: a server that
//! stalls also delays requests that were not sent meanwhile, and leaving those out ("coordinated
//! omission", Gil Tene) would show a stall of a second as one slow request.

use std::time::Duration;

use crate::time::MonotonicNs;

const NS_PER_SECOND: u128 = crate::time::NS_PER_SECOND as u128;

/// The rate of one thread's requests: every `stride`-th of all requests, from the `first`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Requests a second, of all threads together.
    pub(super) rate: u64,
    /// The number of this thread.
    pub(super) first: u32,
    /// How many threads there are.
    pub(super) stride: u32,
}

impl Pace {
    /// When this thread's request `number` is due, in nanoseconds from the start.
    fn offset_ns(self, number: u64) -> u64 {
        let of_all = u128::from(number) * u128::from(self.stride) + u128::from(self.first);
        u64::try_from(of_all * NS_PER_SECOND / u128::from(self.rate)).unwrap_or(u64::MAX)
    }

    /// How many requests are due within `elapsed_ns` from the start, its end not included.
    fn due_within(self, elapsed_ns: u64) -> u64 {
        // Request m of all is due at floor(m * 10^9 / rate) < elapsed, so m * 10^9 < elapsed * rate.
        let of_all = (u128::from(elapsed_ns) * u128::from(self.rate)).div_ceil(NS_PER_SECOND);
        let own = of_all.saturating_sub(u128::from(self.first)).div_ceil(u128::from(self.stride));
        u64::try_from(own).unwrap_or(u64::MAX)
    }
}

/// What is to be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A request that was due at this time.
    Now(MonotonicNs),
    /// Nothing before this time.
    At(MonotonicNs),
    /// Nothing any more.
    Never,
}

/// One thread's schedule.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    start: MonotonicNs,
    end: MonotonicNs,
    pace: Option<Pace>,
    taken: u64,
    limit: u64,
}

impl Schedule {
    /// At most `limit` requests from `start` on, for `duration` if there is one.
    pub(super) fn new(
        start: MonotonicNs,
        duration: Option<Duration>,
        pace: Option<Pace>,
        limit: u64,
    ) -> Self {
        let end = duration.map_or(MonotonicNs(u64::MAX), |duration| start.after(duration));
        Self { start, end, pace, taken: 0, limit }
    }

    /// What is to be sent at `now`.
    #[inline]
    pub(super) fn due(&self, now: MonotonicNs) -> Due {
        if now >= self.end || self.taken >= self.limit {
            return Due::Never;
        }
        let Some(pace) = self.pace else { return Due::Now(now) };
        let due = MonotonicNs(self.start.0.saturating_add(pace.offset_ns(self.taken)));
        if due <= now { Due::Now(due) } else { Due::At(due.min(self.end)) }
    }

    /// Notes that the request that is due was sent.
    #[inline]
    pub(super) const fn take(&mut self) {
        self.taken += 1;
    }

    /// Nothing is due from `now` on.
    pub(super) fn stop(&mut self, now: MonotonicNs) {
        self.end = self.end.min(now);
    }

    /// Whether nothing is due at `now` or later.
    pub(super) fn is_over(&self, now: MonotonicNs) -> bool {
        self.due(now) == Due::Never
    }

    /// From when on nothing more was to be sent, at `now` after all was: known only where time ended it,
    /// else the start.
    pub(super) fn sending_ended(&self, now: MonotonicNs) -> MonotonicNs {
        if self.taken >= self.limit { self.start } else { self.end.min(now) }
    }

    /// Requests that were due before `now` and were not sent; none in closed loop.
    pub(super) fn unsent(&self, now: MonotonicNs) -> u64 {
        let Some(pace) = self.pace else { return 0 };
        let due = pace.due_within(now.min(self.end).since(self.start));
        due.min(self.limit).saturating_sub(self.taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::Record;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;
    const START: MonotonicNs = MonotonicNs(5 * MS);

    fn pace(rate: u64) -> Pace {
        Pace { rate, first: 0, stride: 1 }
    }

    #[test]
    fn an_open_loop_sends_at_its_times_and_a_closed_one_at_any() {
        let mut open = Schedule::new(START, Some(Duration::from_millis(2)), Some(pace(1000)), u64::MAX);
        assert_eq!(open.due(START), Due::Now(START));
        open.take();
        assert_eq!(open.due(START), Due::At(MonotonicNs(6 * MS)));
        assert_eq!(open.due(MonotonicNs(6 * MS + 7)), Due::Now(MonotonicNs(6 * MS)));
        open.take();
        assert_eq!(open.due(MonotonicNs(6 * MS + 7)), Due::At(MonotonicNs(7 * MS)));
        assert_eq!(open.due(MonotonicNs(7 * MS)), Due::Never, "the end is not included");
        let closed = Schedule::new(START, None, None, 1);
        assert_eq!(closed.due(MonotonicNs(9 * MS)), Due::Now(MonotonicNs(9 * MS)));
    }

    #[test]
    fn a_schedule_ends_with_its_requests_its_time_or_when_stopped() {
        let mut limited = Schedule::new(START, None, None, 1);
        limited.take();
        assert!(limited.is_over(START));
        let timed = Schedule::new(START, Some(Duration::from_millis(1)), None, 9);
        assert!(!timed.is_over(MonotonicNs(6 * MS - 1)) && timed.is_over(MonotonicNs(6 * MS)));
        let mut stopped = Schedule::new(START, None, None, 9);
        stopped.stop(MonotonicNs(6 * MS));
        assert!(stopped.is_over(MonotonicNs(6 * MS)));
    }

    #[test]
    fn what_was_due_and_not_sent_is_counted() {
        let mut schedule = Schedule::new(START, Some(Duration::from_millis(10)), Some(pace(1000)), u64::MAX);
        schedule.take();
        assert_eq!(schedule.unsent(MonotonicNs(7 * MS + 1)), 2);
        assert_eq!(schedule.unsent(MonotonicNs(500 * MS)), 9, "no more than were due before the end");
        assert_eq!(Schedule::new(START, None, None, 9).unsent(MonotonicNs(500 * MS)), 0);
    }

    /// Latencies of a second at 1,000/s on one connection, with a server that answers in 1 ms but
    /// stands still from 300 to 700 ms.
    fn latencies_of_a_stall(pace: Option<Pace>) -> Record {
        let (mut record, mut now) = (Record::new(), MonotonicNs(0));
        let mut schedule = Schedule::new(now, Some(Duration::from_secs(1)), pace, u64::MAX);
        loop {
            match schedule.due(now) {
                Due::Now(intended) => {
                    schedule.take();
                    let stalled = (300 * MS..700 * MS).contains(&now.0);
                    now = if stalled { MonotonicNs(700 * MS) } else { now.after(Duration::from_millis(1)) };
                    record.answered(200, now.since(intended));
                }
                Due::At(due) => now = due,
                Due::Never => return record,
            }
        }
    }

    #[test]
    fn a_stalled_server_shows_in_the_histogram_of_an_open_loop() {
        let open = latencies_of_a_stall(Some(pace(1000)));
        // 400 requests were due in the stall, and each millisecond after it answers one more.
        assert!(open.latency().value_at_quantile(0.5) > 300 * MS);
        assert!(open.latency().max() >= 399 * MS);
        let closed = latencies_of_a_stall(None);
        assert!(closed.latency().value_at_quantile(0.99) < 2 * MS, "a closed loop does not see it");
    }

    proptest! {
        #[test]
        fn threads_together_keep_the_rate(
            rate in 1_u64..=100_000_000,
            threads in 1_u32..=16,
            elapsed_ns in 0_u64..1_000_000_000_000,
        ) {
            let of = |first| Pace { rate, first, stride: threads };
            let due: u64 = (0..threads).map(|first| of(first).due_within(elapsed_ns)).sum();
            let tokens_ns = u128::from(elapsed_ns) * u128::from(rate);
            prop_assert_eq!(u128::from(due), tokens_ns.div_ceil(NS_PER_SECOND));
            for first in 0..threads {
                let own = of(first).due_within(elapsed_ns);
                prop_assert!(own == 0 || of(first).offset_ns(own - 1) < elapsed_ns);
                prop_assert!(of(first).offset_ns(own) >= elapsed_ns);
            }
        }
    }
}
