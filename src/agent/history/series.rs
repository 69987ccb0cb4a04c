//! One measure over time, with its gaps.

use serde::{Deserialize, Serialize};

use crate::agent::types::{Region, UnixMs};

/// What is measured, and its unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "measure", rename_all = "snake_case")]
pub enum Measure {
    /// Available tokens as a share of the capacity (0 to 1), the least over the watched keys.
    Available,
    /// The same of one watched key.
    AvailableOf {
        /// Policy and key, as it is shown.
        key: String,
    },
    /// Checks decided, a second.
    Checks,
    /// Checks denied, a second.
    Denials,
    /// Requests answered with an error, a second.
    Errors,
    /// The 99th percentile of a request, in microseconds.
    P99,
    /// The age of the oldest change that a peer has not acknowledged, in milliseconds.
    ReplicationLag,
    /// Whether probes of a region succeeded: 1 or 0.
    ProbeResult {
        /// The region.
        region: Region,
    },
    /// How long a probe of a region took, in milliseconds.
    ProbeLatency {
        /// The region.
        region: Region,
    },
}

/// A value at a time, or a gap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it was measured.
    pub at: UnixMs,
    /// Finite; `None` where nothing is known.
    pub value: Option<f64>,
}

/// One measure, in order of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What is measured.
    #[serde(flatten)]
    pub measure: Measure,
    /// Between two points, in milliseconds: points further apart have a gap between them.
    pub step_ms: u64,
    /// The points.
    pub points: Vec<Point>,
}

impl Series {
    /// Whether there is a single value.
    #[must_use]
    pub fn has_values(&self) -> bool {
        self.points.iter().any(|point| point.value.is_some())
    }

    /// The same in at most `max_points` points (3 at least): of each stretch the least, the greatest and,
    /// if there is one, a gap. So peaks and holes stay, however short.
    #[must_use]
    pub fn downsampled(&self, max_points: usize) -> Self {
        if self.points.len() <= max_points {
            return self.clone();
        }
        let stretches = (max_points / 3).max(1);
        let length = self.points.len().div_ceil(stretches);
        let points = self.points.chunks(length).flat_map(extremes).collect();
        let step_ms = self.step_ms.saturating_mul(length as u64);
        Self { measure: self.measure.clone(), step_ms, points }
    }
}

/// The least and the greatest point and the first gap, in order of time.
fn extremes(points: &[Point]) -> Vec<Point> {
    let values = || points.iter().enumerate().filter_map(|(at, point)| Some((at, point.value?)));
    let least = values().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
    let greatest = values().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at);
    let gap = points.iter().position(|point| point.value.is_none());
    let mut chosen: Vec<_> = [least, greatest, gap].into_iter().flatten().collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen.into_iter().filter_map(|at| points.get(at).copied()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(values: Vec<Option<f64>>) -> Series {
        let point = |(at, value)| Point { at: UnixMs(at as u64 * 1000), value };
        let points = values.into_iter().enumerate().map(point).collect();
        Series { measure: Measure::Checks, step_ms: 1000, points }
    }

    proptest! {
        #[test]
        fn fewer_points_keep_extremes_gaps_and_order(
            values in prop::collection::vec(prop::option::weighted(0.9, -1e9..1e9_f64), 0..500),
            max_points in 3_usize..100,
        ) {
            let whole = series(values);
            let less = whole.downsampled(max_points);
            prop_assert!(less.points.len() <= max_points);
            let extreme = |series: &Series| {
                let values = series.points.iter().filter_map(|point| point.value);
                values.fold((f64::MAX, f64::MIN), |(min, max), value| (min.min(value), max.max(value)))
            };
            prop_assert_eq!(extreme(&whole), extreme(&less));
            let has_gap = |series: &Series| series.points.iter().any(|point| point.value.is_none());
            prop_assert_eq!(has_gap(&whole), has_gap(&less));
            prop_assert!(less.points.windows(2).all(|two| two[0].at < two[1].at));
            prop_assert!(less.points.iter().all(|point| whole.points.contains(point)));
        }
    }

    #[test]
    fn a_series_has_one_form_in_files() {
        let mut series = series(vec![Some(0.5), None]);
        series.measure = Measure::ProbeResult { region: Region("eu".to_owned()) };
        let json = concat!(
            r#"{"measure":"probe_result","region":"eu","step_ms":1000,"#,
            r#""points":[{"at":0,"value":0.5},{"at":1000,"value":null}]}"#
        );
        assert_eq!(serde_json::to_string(&series).unwrap(), json);
        assert_eq!(serde_json::from_str::<Series>(json).unwrap(), series);
    }
}
