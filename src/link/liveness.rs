//! Whether a peer is there: silence against a time-out, how suspicious a silence is, and whether the peer hears
//! this node.
//!
//! Suspicion is phi, the accrual failure detector of Hayashibara, Défago, Yared and Katayama (2004): minus
//! the decimal logarithm of the probability that a heartbeat is still to come, were the intervals seen so
//! far normally distributed.

use std::time::Duration;

use super::wire::Header;
use crate::time::MonotonicNs;

/// Intervals that the distribution is taken from.
const SAMPLES: usize = 128;
/// Suspicion is not told apart above.
pub(super) const MAX_PHI: f64 = 100.0;

/// What is heard of one peer, and when.
#[derive(Debug)]
pub(super) struct Liveness {
    detect_timeout: Duration,
    /// A deviation below this is the jitter of schedulers, not of the network.
    min_deviation_ns: f64,
    intervals_ns: [u64; SAMPLES],
    samples: usize,
    heard_at: MonotonicNs,
    heartbeat_at: Option<MonotonicNs>,
    absent_since: Option<MonotonicNs>,
    absent_before_ns: u64,
}

impl Liveness {
    /// A peer counts as present until it has been silent for `detect_timeout`.
    pub(super) fn new(flush_interval: Duration, detect_timeout: Duration, now: MonotonicNs) -> Self {
        Self {
            detect_timeout,
            min_deviation_ns: flush_interval.as_nanos() as f64 / 4.0,
            intervals_ns: [0; SAMPLES],
            samples: 0,
            heard_at: now,
            heartbeat_at: None,
            absent_since: None,
            absent_before_ns: 0,
        }
    }

    /// A datagram has come.
    pub(super) fn heard(&mut self, heartbeat: bool, now: MonotonicNs) {
        self.heard_at = now;
        let absent_since = self.absent_since.take();
        if heartbeat {
            // An interval with an absence in it would distort the distribution.
            if let (Some(before), None) = (self.heartbeat_at, absent_since) {
                self.intervals_ns[self.samples % SAMPLES] = now.since(before);
                self.samples += 1;
            }
            self.heartbeat_at = Some(now);
        }
        self.absent_before_ns += absent_since.map_or(0, |since| now.since(since));
    }

    /// Whether the peer has become absent just now.
    pub(super) fn fell_silent(&mut self, now: MonotonicNs) -> bool {
        // A clock that went back must not make a peer immortal.
        self.heard_at = self.heard_at.min(now);
        let silent = u128::from(now.since(self.heard_at)) >= self.detect_timeout.as_nanos();
        if !silent || self.absent_since.is_some() {
            return false;
        }
        self.absent_since = Some(now);
        true
    }

    pub(super) const fn is_present(&self) -> bool {
        self.absent_since.is_none()
    }

    /// How long the peer was absent, in all.
    pub(super) fn absent_ns(&self, now: MonotonicNs) -> u64 {
        self.absent_before_ns + self.absent_since.map_or(0, |since| now.since(since))
    }

    /// Suspicion: 1 when one such silence in ten ends by itself, 8 when one in 10^8 does.
    pub(super) fn phi(&self, now: MonotonicNs) -> f64 {
        let seen = &self.intervals_ns[..self.samples.min(SAMPLES)];
        let (Some(before), false) = (self.heartbeat_at, seen.is_empty()) else { return 0.0 };
        let count = seen.len() as f64;
        let mean = seen.iter().map(|ns| *ns as f64).sum::<f64>() / count;
        let variance = seen.iter().map(|ns| (*ns as f64 - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(self.min_deviation_ns);
        phi((now.since(before) as f64 - mean) / deviation)
    }
}

/// Whether a peer hears this node, as its datagrams say.
///
/// A node that hears nothing keeps to its share and tells of no changes. When only one direction is cut, the other
/// node would take it for idle and use the whole limit, so that both together would admit too much.
#[derive(Debug)]
pub(super) struct HeardThere {
    detect_timeout: Duration,
    /// When the peer's boot was believed.
    met_at: MonotonicNs,
    is_deaf: bool,
}

impl HeardThere {
    pub(super) const fn new(detect_timeout: Duration, now: MonotonicNs) -> Self {
        Self { detect_timeout, met_at: now, is_deaf: false }
    }

    /// Another boot of the peer was believed: it has heard this node, since it echoed its challenge.
    pub(super) const fn met(&mut self, now: MonotonicNs) {
        (self.met_at, self.is_deaf) = (now, false);
    }

    /// Takes what the newest datagram says: for how long its sender has heard nothing.
    pub(super) fn told(&mut self, header: &Header, now: MonotonicNs) {
        // A peer acknowledges nothing until it believes this node, which may take another round trip.
        let silence_ns = match header.ack_highest {
            0 => now.since(self.met_at),
            _ => u64::from(header.ack_delay_us) * 1000,
        };
        self.is_deaf = u128::from(silence_ns) >= self.detect_timeout.as_nanos();
    }

    pub(super) const fn is_deaf(&self) -> bool {
        self.is_deaf
    }
}

/// For `y` standard deviations above the mean, by the logistic approximation of the normal distribution.
fn phi(y: f64) -> f64 {
    let exponent = y * (1.5976 + 0.070_566 * y * y);
    // ln(1 + e^x), without overflow.
    let softplus = exponent.max(0.0) + (-exponent.abs()).exp().ln_1p();
    (softplus * std::f64::consts::LOG10_E).clamp(0.0, MAX_PHI)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(20);
    const DETECT: Duration = Duration::from_millis(500);

    fn ms(ms: u64) -> MonotonicNs {
        MonotonicNs(ms * 1_000_000)
    }

    #[test]
    fn silence_makes_a_peer_absent_once_and_a_datagram_brings_it_back() {
        let mut liveness = Liveness::new(FLUSH, DETECT, ms(0));
        assert!(!liveness.fell_silent(ms(499)) && liveness.is_present());
        assert!(liveness.fell_silent(ms(500)) && !liveness.fell_silent(ms(600)));
        assert_eq!(liveness.absent_ns(ms(700)), 200_000_000);
        liveness.heard(true, ms(800));
        liveness.heard(true, ms(820));
        assert_eq!((liveness.is_present(), liveness.absent_ns(ms(900))), (true, 300_000_000));
    }

    #[test]
    fn a_peer_is_deaf_while_it_says_that_it_has_heard_nothing_for_too_long() {
        let says = |ack_highest: u64, ack_delay_ms: u32| Header {
            ack_highest,
            ack_delay_us: ack_delay_ms * 1000,
            ..Header::default()
        };
        let mut heard = HeardThere::new(DETECT, ms(0));
        heard.met(ms(1000));
        // (what it says, when, whether it is deaf then)
        for (header, at, deaf) in [
            (says(0, 0), ms(1499), false),
            (says(0, 0), ms(1500), true),
            (says(7, 20), ms(1600), false),
            (says(7, 499), ms(2000), false),
            (says(7, 500), ms(2100), true),
            (says(8, 0), ms(2200), false),
        ] {
            heard.told(&header, at);
            assert_eq!(heard.is_deaf(), deaf, "{header:?} at {at:?}");
        }
        heard.told(&says(8, 600), ms(3000));
        heard.met(ms(3100));
        assert!(!heard.is_deaf(), "another boot");
    }

    #[test]
    fn suspicion_grows_with_silence() {
        let mut liveness = Liveness::new(FLUSH, DETECT, ms(0));
        assert_eq!(liveness.phi(ms(100)), 0.0);
        for beat in 0..500 {
            liveness.heard(true, ms(beat * 20));
        }
        let last = 499 * 20;
        let [early, late, dead] = [last + 10, last + 40, last + 400].map(|at| liveness.phi(ms(at)));
        assert!(early < 0.5 && late > 3.0 && dead > 30.0 && dead <= MAX_PHI, "{early} {late} {dead}");
        // What passed until it was heard again is no interval between two heartbeats.
        assert!(liveness.fell_silent(ms(last + 5000)));
        liveness.heard(true, ms(last + 6000));
        let later = liveness.phi(ms(last + 6040));
        assert!((later - late).abs() < 0.1, "{later} {late}");
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_harms_nothing() {
        let mut liveness = Liveness::new(FLUSH, DETECT, ms(1000));
        for _ in 0..10 {
            liveness.heard(true, ms(1000));
        }
        assert!(liveness.phi(ms(1000)).is_finite() && !liveness.fell_silent(ms(500)));
        assert!(liveness.fell_silent(ms(1000)), "the silence counts from where the clock went back to");
    }
}
