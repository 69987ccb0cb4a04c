//! When a figure becomes a signal, and when it is over: it must stay beyond a bound for a time, and come
//! back well within it for a time. Pure.

use crate::agent::types::UnixMs;

/// Where a figure is beyond its bound, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdLimits {
    /// Beyond this it counts.
    pub enter: f64,
    /// Back within this it counts as over; between the two nothing changes.
    pub leave: f64,
    /// Beyond for so long, in milliseconds, and the signal is raised.
    pub raise_after_ms: u64,
    /// Within for so long, in milliseconds, and it is lowered.
    pub lower_after_ms: u64,
}

/// One figure that is watched. A figure may be too small (tokens) or too large (latencies): which, follows
/// from where its bounds lie.
#[derive(Clone, Copy, Debug)]
pub struct Threshold {
    limits: ThresholdLimits,
    is_raised: bool,
    /// Since when the figure says the opposite of what is raised.
    turning_since: Option<UnixMs>,
}

impl Threshold {
    /// Not raised.
    #[must_use]
    pub const fn new(limits: ThresholdLimits) -> Self {
        Self { limits, is_raised: false, turning_since: None }
    }

    /// Whether the signal is raised.
    #[must_use]
    pub const fn is_raised(&self) -> bool {
        self.is_raised
    }

    /// Takes it as raised.
    pub const fn raise(&mut self) {
        self.is_raised = true;
    }

    /// Takes the figure of this moment; whether the signal was raised or lowered by it. Without a figure
    /// nothing is known, and what was turning begins anew.
    pub fn observe(&mut self, now: UnixMs, value: Option<f64>) -> Option<bool> {
        let turns = value
            .is_some_and(|value| if self.is_raised { self.is_within(value) } else { self.is_beyond(value) });
        if !turns {
            self.turning_since = None;
            return None;
        }
        let since = *self.turning_since.get_or_insert(now);
        let wait_ms = if self.is_raised { self.limits.lower_after_ms } else { self.limits.raise_after_ms };
        if now.since_ms(since) < wait_ms {
            return None;
        }
        self.is_raised = !self.is_raised;
        self.turning_since = None;
        Some(self.is_raised)
    }

    const fn small_is_bad(&self) -> bool {
        self.limits.enter <= self.limits.leave
    }

    fn is_beyond(&self, value: f64) -> bool {
        if self.small_is_bad() { value < self.limits.enter } else { value > self.limits.enter }
    }

    fn is_within(&self, value: f64) -> bool {
        if self.small_is_bad() { value >= self.limits.leave } else { value <= self.limits.leave }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: ThresholdLimits =
        ThresholdLimits { enter: 10.0, leave: 15.0, raise_after_ms: 120_000, lower_after_ms: 30_000 };
    const LATENCY: ThresholdLimits =
        ThresholdLimits { enter: 50.0, leave: 25.0, raise_after_ms: 60_000, lower_after_ms: 10_000 };

    /// What becomes of a threshold over `(second, value)`, as `(second, raised)`.
    fn changes(limits: ThresholdLimits, steps: &[(u64, Option<f64>)]) -> Vec<(u64, bool)> {
        let mut threshold = Threshold::new(limits);
        let all =
            steps.iter().filter_map(|(s, value)| Some((*s, threshold.observe(UnixMs(s * 1000), *value)?)));
        all.collect()
    }

    #[test]
    fn it_takes_its_time_both_ways() {
        type Row<'r> = (&'r str, ThresholdLimits, &'r [(u64, Option<f64>)], &'r [(u64, bool)]);
        let table: [Row<'_>; 7] = [
            (
                "at once when it stays",
                TOKENS,
                &[(0, Some(9.0)), (119, Some(0.0)), (120, Some(9.9))],
                &[(120, true)],
            ),
            (
                "a moment above begins anew",
                TOKENS,
                &[(0, Some(9.0)), (60, Some(10.0)), (61, Some(9.0)), (180, Some(9.0)), (181, Some(9.0))],
                &[(181, true)],
            ),
            (
                "no figure begins anew",
                TOKENS,
                &[(0, Some(9.0)), (60, None), (61, Some(9.0)), (170, Some(9.0))],
                &[],
            ),
            (
                "between the bounds nothing changes",
                TOKENS,
                &[(0, Some(9.0)), (120, Some(9.0)), (130, Some(14.0)), (900, Some(14.0))],
                &[(120, true)],
            ),
            (
                "well within it is over",
                TOKENS,
                &[(0, Some(9.0)), (120, Some(9.0)), (130, Some(15.0)), (160, Some(99.0))],
                &[(120, true), (160, false)],
            ),
            (
                "large ones are bad too",
                LATENCY,
                &[(0, Some(51.0)), (60, Some(51.0)), (70, Some(25.0)), (80, Some(1.0))],
                &[(60, true), (80, false)],
            ),
            ("at the bound is not beyond it", LATENCY, &[(0, Some(50.0)), (100, Some(50.0))], &[]),
        ];
        for (what, limits, steps, expected) in table {
            assert_eq!(changes(limits, steps), expected, "{what}");
        }
    }

    #[test]
    fn without_a_wait_one_look_is_enough() {
        let at_once = ThresholdLimits { raise_after_ms: 0, lower_after_ms: 0, ..TOKENS };
        assert_eq!(changes(at_once, &[(0, Some(1.0)), (1, Some(50.0))]), [(0, true), (1, false)]);
    }
}
