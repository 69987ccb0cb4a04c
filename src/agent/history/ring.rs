//! A ring of seconds, one column a measure.

use super::series::{Measure, Point, Series};
use crate::agent::types::{Region, UnixMs};

const SECOND_MS: u64 = 1000;
/// Two hours.
const DEFAULT_SECONDS: usize = 7200;
/// A day: beyond that Prometheus is the place.
const MAX_SECONDS: usize = 86_400;
const MAX_REGIONS: usize = 16;
const FIXED: [Measure; 6] = [
    Measure::Available,
    Measure::Checks,
    Measure::Denials,
    Measure::Errors,
    Measure::P99,
    Measure::ReplicationLag,
];

/// What is measured beside the server as a whole; fixed when the ring is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    /// Seconds that are kept.
    pub seconds: usize,
    /// Watched keys, as they are shown.
    pub keys: Vec<String>,
    /// Regions that are probed.
    pub regions: Vec<Region>,
}

impl Subjects {
    /// Most watched keys.
    pub const MAX_KEYS: usize = 64;
}

impl Default for Subjects {
    /// Two hours, no keys, no regions.
    fn default() -> Self {
        Self { seconds: DEFAULT_SECONDS, keys: Vec::new(), regions: Vec::new() }
    }
}

/// Why there is no such ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectsError {
    /// Too few or too many seconds.
    #[error("a history is 1 to 86400 seconds long")]
    Seconds,
    /// Too many keys.
    #[error("a history has at most 64 watched keys")]
    Keys,
    /// Too many regions.
    #[error("a history has at most 16 regions")]
    Regions,
}

/// One second. What is `None` or not finite is a gap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Checks decided.
    pub checks: Option<f64>,
    /// Checks denied.
    pub denials: Option<f64>,
    /// Requests answered with an error.
    pub errors: Option<f64>,
    /// The 99th percentile of requests, in microseconds.
    pub p99_us: Option<f64>,
    /// The age of the oldest unacknowledged change, in milliseconds.
    pub replication_lag_ms: Option<f64>,
    /// Available tokens of each watched key as a share of its capacity, in the order of [`Subjects::keys`].
    pub available: Vec<Option<f64>>,
    /// Whether each region's probe succeeded and how many milliseconds it took, in the order of
    /// [`Subjects::regions`].
    pub probes: Vec<Option<(bool, f64)>>,
}

/// The last seconds.
#[derive(Debug)]
pub struct History {
    seconds: usize,
    measures: Vec<Measure>,
    /// One column a measure, `seconds` long; not a number where there is a gap.
    columns: Vec<Box<[f32]>>,
    /// The latest second that was pushed.
    latest: Option<u64>,
}

impl History {
    /// Takes all the memory that it will ever use: 4 bytes a second and measure.
    ///
    /// # Errors
    /// When there are too many of something.
    pub fn new(subjects: Subjects) -> Result<Self, SubjectsError> {
        let Subjects { seconds, keys, regions } = subjects;
        if !(1..=MAX_SECONDS).contains(&seconds) {
            return Err(SubjectsError::Seconds);
        }
        if keys.len() > Subjects::MAX_KEYS {
            return Err(SubjectsError::Keys);
        }
        if regions.len() > MAX_REGIONS {
            return Err(SubjectsError::Regions);
        }
        let mut measures = FIXED.to_vec();
        measures.extend(keys.into_iter().map(|key| Measure::AvailableOf { key }));
        for region in regions {
            measures.push(Measure::ProbeResult { region: region.clone() });
            measures.push(Measure::ProbeLatency { region });
        }
        let columns = measures.iter().map(|_| vec![f32::NAN; seconds].into_boxed_slice()).collect();
        Ok(Self { seconds, measures, columns, latest: None })
    }

    /// Takes the second of `at`; again in the same second replaces it, and an earlier second than the latest
    /// is dropped.
    pub fn push(&mut self, at: UnixMs, sample: &Sample) {
        let second = at.0 / SECOND_MS;
        match self.latest {
            Some(latest) if second < latest => return,
            Some(latest) => self.clear(latest + 1, second),
            None => {}
        }
        self.latest = Some(second);
        self.store(self.slot(second), sample);
    }

    /// The seconds from `from` to `to`, both included, of every measure that has a value in them.
    #[must_use]
    pub fn range(&self, from: UnixMs, to: UnixMs) -> Vec<Series> {
        let Some(latest) = self.latest else { return Vec::new() };
        let earliest = (latest + 1).saturating_sub(self.seconds as u64);
        let (first, last) = ((from.0 / SECOND_MS).max(earliest), (to.0 / SECOND_MS).min(latest));
        let point = |column: &[f32], second: u64| {
            let value = f64::from(column[self.slot(second)]);
            Point { at: UnixMs(second * SECOND_MS), value: value.is_finite().then_some(value) }
        };
        let all = self.measures.iter().zip(&self.columns).map(|(measure, column)| Series {
            measure: measure.clone(),
            step_ms: SECOND_MS,
            points: (first..=last).map(|second| point(column, second)).collect(),
        });
        all.filter(Series::has_values).collect()
    }

    fn store(&mut self, slot: usize, sample: &Sample) {
        let keys = self.measures.iter().filter(|m| matches!(m, Measure::AvailableOf { .. })).count();
        let regions = (self.measures.len() - FIXED.len() - keys) / 2;
        let available = sample.available.iter().copied().chain(std::iter::repeat(None)).take(keys);
        let least = available.clone().flatten().filter(|share| share.is_finite()).reduce(f64::min);
        let fixed =
            [least, sample.checks, sample.denials, sample.errors, sample.p99_us, sample.replication_lag_ms];
        let probes = sample.probes.iter().copied().chain(std::iter::repeat(None)).take(regions);
        let probes =
            probes.flat_map(|probe| [probe.map(|(ok, _)| f64::from(u8::from(ok))), probe.map(|(_, ms)| ms)]);
        let values = fixed.into_iter().chain(available).chain(probes);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column[slot] = value.map_or(f32::NAN, |value| value as f32);
        }
    }

    /// Makes gaps of the seconds from `first` up to, and without, `end`.
    fn clear(&mut self, first: u64, end: u64) {
        let first = first.max(end.saturating_sub(self.seconds as u64));
        for second in first..end {
            let slot = self.slot(second);
            self.columns.iter_mut().for_each(|column| column[slot] = f32::NAN);
        }
    }

    fn slot(&self, second: u64) -> usize {
        usize::try_from(second % self.seconds as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn checks(value: f64) -> Sample {
        Sample { checks: Some(value), ..Sample::default() }
    }

    fn small(seconds: usize) -> History {
        History::new(Subjects { seconds, ..Subjects::default() }).unwrap()
    }

    proptest! {
        #[test]
        fn the_ring_is_a_map_that_forgets(
            seconds in 1_usize..20,
            pushes in prop::collection::vec((0_u64..60, 0_u32..1000), 1..60),
        ) {
            let mut history = small(seconds);
            let mut model = BTreeMap::new();
            let mut latest = 0;
            for (second, value) in pushes {
                history.push(UnixMs(second * 1000 + 999), &checks(f64::from(value)));
                if second >= latest {
                    model.insert(second, f64::from(value));
                    latest = second;
                }
            }
            let series = history.range(UnixMs(0), UnixMs(u64::MAX));
            prop_assert_eq!(series.len(), 1);
            let first = (latest + 1).saturating_sub(seconds as u64);
            let expected: Vec<_> = (first..=latest)
                .map(|second| Point { at: UnixMs(second * 1000), value: model.get(&second).copied() })
                .collect();
            prop_assert_eq!(&series[0].points, &expected);
        }
    }

    #[test]
    fn every_measure_lies_where_it_belongs_and_the_least_share_counts() {
        let subjects = Subjects {
            seconds: 10,
            keys: vec!["api/a".to_owned(), "api/b".to_owned()],
            regions: vec![Region("eu".to_owned()), Region("us".to_owned())],
        };
        let mut history = History::new(subjects).unwrap();
        let sample = Sample {
            checks: Some(1.0),
            denials: Some(2.0),
            errors: Some(f64::NAN),
            p99_us: Some(4.0),
            replication_lag_ms: Some(5.0),
            available: vec![Some(0.75), Some(0.25), Some(0.0)],
            probes: vec![None, Some((false, 6.0))],
        };
        history.push(UnixMs(7_000), &sample);
        let got: BTreeMap<_, _> = history
            .range(UnixMs(7_000), UnixMs(7_999))
            .into_iter()
            .map(|series| (series.measure, series.points[0].value.unwrap()))
            .collect();
        let us = Region("us".to_owned());
        let expected = BTreeMap::from([
            (Measure::Available, 0.25),
            (Measure::AvailableOf { key: "api/a".to_owned() }, 0.75),
            (Measure::AvailableOf { key: "api/b".to_owned() }, 0.25),
            (Measure::Checks, 1.0),
            (Measure::Denials, 2.0),
            (Measure::P99, 4.0),
            (Measure::ReplicationLag, 5.0),
            (Measure::ProbeResult { region: us.clone() }, 0.0),
            (Measure::ProbeLatency { region: us }, 6.0),
        ]);
        assert_eq!(got, expected);
    }

    #[test]
    fn a_jump_of_the_clock_costs_no_more_than_the_ring() {
        let mut history = small(5);
        history.push(UnixMs(1_000), &checks(1.0));
        history.push(UnixMs(u64::MAX), &checks(2.0));
        let points = &history.range(UnixMs(0), UnixMs(u64::MAX))[0].points;
        assert_eq!(points.iter().filter(|point| point.value.is_some()).count(), 1);
        assert_eq!(small(5).range(UnixMs(0), UnixMs(9)), []);
        assert_eq!(history.range(UnixMs(9_000), UnixMs(1_000)), []);
    }

    #[test]
    fn memory_is_bounded_by_what_is_asked_for() {
        let with = |seconds, keys, regions| {
            let keys = vec![String::new(); keys];
            let regions = vec![Region(String::new()); regions];
            History::new(Subjects { seconds, keys, regions }).map(drop)
        };
        assert_eq!(with(0, 0, 0), Err(SubjectsError::Seconds));
        assert_eq!(with(MAX_SECONDS + 1, 0, 0), Err(SubjectsError::Seconds));
        assert_eq!(with(1, Subjects::MAX_KEYS + 1, 0), Err(SubjectsError::Keys));
        assert_eq!(with(1, 0, MAX_REGIONS + 1), Err(SubjectsError::Regions));
        assert_eq!(with(1, Subjects::MAX_KEYS, MAX_REGIONS), Ok(()));
    }
}
