//! How long requests of one data thread take, in histograms that travel.
//!
//! They are never shared: the [`HistogramCollector`] sends an empty one, the data thread swaps it for the one it
//! filled, and that travels back. Everything is allocated at start.

use std::mem;

use crossbeam::channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;

use crate::time::NS_PER_SECOND;

/// The longest latency told apart; whatever takes longer is counted as this long.
pub const MAX_LATENCY_NS: u64 = 60 * NS_PER_SECOND;
/// Two digits keep a histogram near 30 KiB, so that recording stays in the second-level cache.
const LATENCY_DIGITS: u8 = 2;

/// A latency histogram with its exact sum, which buckets alone would only estimate.
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    counts: Histogram<u64>,
    sum_ns: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram from one nanosecond to [`MAX_LATENCY_NS`]; it never grows.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram accepts.
    #[must_use]
    pub fn new() -> Self {
        let counts = Histogram::new_with_bounds(1, MAX_LATENCY_NS, LATENCY_DIGITS)
            .expect("constant bounds are accepted");
        Self { counts, sum_ns: 0 }
    }

    /// Records `n` latencies of `ns` each.
    #[inline]
    pub fn record(&mut self, ns: u64, n: u64) {
        self.counts.saturating_record_n(ns, n);
        self.sum_ns = self.sum_ns.saturating_add(ns.saturating_mul(n));
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        for step in other.counts.iter_recorded() {
            self.counts.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// Latencies recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// Sum of the latencies recorded, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Adds to `cumulative[i]` how many latencies are at most `bounds_ns[i]`, to the histogram's one
    /// percent. `bounds_ns` rises.
    pub fn add_cumulative(&self, bounds_ns: &[u64], cumulative: &mut [u64]) {
        for step in self.counts.iter_recorded() {
            let value_ns = step.value_iterated_to();
            let lowest_ns = self.counts.lowest_equivalent(value_ns);
            let first = bounds_ns.partition_point(|&bound_ns| bound_ns < lowest_ns);
            for total in cumulative.iter_mut().skip(first) {
                *total += step.count_at_value();
            }
        }
    }

    /// The latency that a part of all, 0 to 1, do not exceed, in nanoseconds; `None` when there is none.
    #[must_use]
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        (!self.counts.is_empty()).then(|| self.counts.value_at_quantile(part))
    }

    fn clear(&mut self) {
        self.counts.reset();
        self.sum_ns = 0;
    }
}

/// The latencies of one data thread since they were last collected.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From the first byte of a request seen to its answer rendered.
    pub request: LatencyHistogram,
    /// The decision alone.
    pub decision: LatencyHistogram,
}

impl Latencies {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.request.add(&other.request);
        self.decision.add(&other.decision);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.request.clear();
        self.decision.clear();
    }
}

/// The histograms that a data thread fills.
#[derive(Debug)]
pub struct CoreHistograms {
    filling: Box<Latencies>,
    empty: Receiver<Box<Latencies>>,
    filled: Sender<Box<Latencies>>,
}

impl CoreHistograms {
    /// Records `n` requests that took `ns` each.
    #[inline]
    pub fn record_request_ns(&mut self, ns: u64, n: u64) {
        self.filling.request.record(ns, n);
    }

    /// Records `n` decisions that took `ns` each.
    #[inline]
    pub fn record_decision_ns(&mut self, ns: u64, n: u64) {
        self.filling.decision.record(ns, n);
    }

    /// Hands over what was recorded when the collector has asked; called once a turn.
    #[inline]
    pub fn publish_if_asked(&mut self) {
        // Two loads on the usual path; `try_recv` on an empty channel would cost a full fence.
        if self.empty.is_empty() {
            return;
        }
        if let Ok(empty) = self.empty.try_recv() {
            let filled = mem::replace(&mut self.filling, empty);
            // One spare travels, so there is room; a collector that has gone needs nothing.
            drop(self.filled.try_send(filled));
        }
    }
}

/// The other end of [`CoreHistograms`]: asks for what was recorded and keeps nothing.
#[derive(Debug)]
pub struct HistogramCollector {
    spare: Option<Box<Latencies>>,
    empty: Sender<Box<Latencies>>,
    filled: Receiver<Box<Latencies>>,
}

impl HistogramCollector {
    /// Adds to `totals` what the data thread has handed over since, if it has, and asks again.
    ///
    /// Never waits: what is recorded now arrives with the next call but one. True when something came.
    pub fn collect(&mut self, totals: &mut Latencies) -> bool {
        let mut came = false;
        if let Ok(mut filled) = self.filled.try_recv() {
            totals.add(&filled);
            filled.request.clear();
            filled.decision.clear();
            self.spare = Some(filled);
            came = true;
        }
        if let Some(spare) = self.spare.take() {
            drop(self.empty.try_send(spare));
        }
        came
    }
}

/// Two histograms of a data thread and the collector that empties them; allocates here and never again.
#[must_use]
pub fn histogram_exchange() -> (CoreHistograms, HistogramCollector) {
    let (empty_tx, empty_rx) = bounded(1);
    let (filled_tx, filled_rx) = bounded(1);
    let core = CoreHistograms { filling: Box::default(), empty: empty_rx, filled: filled_tx };
    let collector = HistogramCollector { spare: Some(Box::default()), empty: empty_tx, filled: filled_rx };
    (core, collector)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_latency_recorded_is_collected_once_while_both_threads_run() {
        const RECORDS: u64 = 400_000;
        let (mut core, mut collector) = histogram_exchange();
        let (done, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (recorder_done, recorder_swaps) = (Arc::clone(&done), Arc::clone(&swaps));
        let recorder = thread::spawn(move || {
            let patience = Instant::now() + Duration::from_secs(20);
            for ns in 1..=RECORDS {
                core.record_request_ns(ns, 1);
                core.record_decision_ns(7, 2);
                core.publish_if_asked();
                // A collector that has no core yet would see nothing of this.
                while ns == RECORDS / 2
                    && recorder_swaps.load(Ordering::Acquire) < 2
                    && Instant::now() < patience
                {
                    core.publish_if_asked();
                    thread::yield_now();
                }
            }
            recorder_done.store(true, Ordering::Release);
            core
        });
        let mut totals = Latencies::default();
        while !done.load(Ordering::Acquire) {
            swaps.fetch_add(u64::from(collector.collect(&mut totals)), Ordering::Release);
        }
        let mut core = recorder.join().unwrap();
        for _ in 0..3 {
            core.publish_if_asked();
            collector.collect(&mut totals);
        }
        assert!(swaps.load(Ordering::Relaxed) > 1, "the threads swapped while both ran");
        assert_eq!(totals.request.count(), RECORDS);
        assert_eq!(totals.request.sum_ns(), RECORDS * (RECORDS + 1) / 2);
        assert_eq!((totals.decision.count(), totals.decision.sum_ns()), (2 * RECORDS, 14 * RECORDS));
    }

    #[test]
    fn a_latency_beyond_the_bounds_is_counted_at_the_bound() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(u64::MAX, 1);
        histogram.record(0, 1);
        assert_eq!(histogram.count(), 2);
        let mut cumulative = [0; 2];
        histogram.add_cumulative(&[1, MAX_LATENCY_NS], &mut cumulative);
        assert_eq!(cumulative, [1, 2]);
    }

    #[test]
    fn buckets_are_cumulative_and_right_to_a_percent() {
        let mut histogram = LatencyHistogram::new();
        (1..=10_000).for_each(|us| histogram.record(us * 1000, 1));
        let bounds_ns = [1_000, 100_000, 1_000_000, 5_000_000, 10_000_000];
        let mut cumulative = [0; 5];
        histogram.add_cumulative(&bounds_ns, &mut cumulative);
        for (bound_ns, &count) in bounds_ns.iter().zip(&cumulative) {
            let exact = bound_ns / 1000;
            assert!(count.abs_diff(exact) * 100 <= exact.max(100), "{bound_ns} ns: {count}, not {exact}");
        }
    }

    #[test]
    fn a_collector_that_went_away_does_not_stop_the_core() {
        let (mut core, mut collector) = histogram_exchange();
        collector.collect(&mut Latencies::default());
        drop(collector);
        for _ in 0..3 {
            core.record_request_ns(1, 1);
            core.publish_if_asked();
        }
    }
}
