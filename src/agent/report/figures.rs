//! Measures in figures: names, units, and what they were before, during and after.

use super::facts::Facts;
use crate::agent::history::{Measure, Series};
use crate::agent::types::UnixMs;

/// The measures that are plotted and compared, in this order.
pub(super) const SHOWN: [Measure; 6] = [
    Measure::Available,
    Measure::Checks,
    Measure::Denials,
    Measure::P99,
    Measure::Errors,
    Measure::ReplicationLag,
];

/// How a measure is called and written.
pub(super) struct Style {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// From the stored unit to the shown one.
    pub(super) scale: f64,
    /// Whether little of it is the bad end.
    pub(super) low_is_bad: bool,
}

pub(super) const fn style(measure: &Measure) -> Style {
    let (name, unit, scale) = match measure {
        Measure::Available => ("Available tokens", "% of capacity", 100.0),
        Measure::AvailableOf { .. } => ("Available tokens of a key", "% of capacity", 100.0),
        Measure::Checks => ("Checks", "per second", 1.0),
        Measure::Denials => ("Denials", "per second", 1.0),
        Measure::Errors => ("Errors", "per second", 1.0),
        Measure::P99 => ("Request p99", "µs", 1.0),
        Measure::ReplicationLag => ("Replication lag", "ms", 1.0),
        Measure::ProbeResult { .. } => ("Probe succeeded", "% of probes", 100.0),
        Measure::ProbeLatency { .. } => ("Probe latency", "ms", 1.0),
    };
    let low_is_bad =
        matches!(measure, Measure::Available | Measure::AvailableOf { .. } | Measure::ProbeResult { .. });
    Style { name, unit, scale, low_is_bad }
}

/// One row: a measure before, during and after.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) worst: &'static str,
    pub(super) bands: [Option<Band>; 3],
}

/// The mean and the bad end over one stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Band {
    pub(super) mean: f64,
    pub(super) worst: f64,
}

pub(super) fn rows(facts: &Facts, series: &[Series]) -> Vec<Row> {
    let end = facts.ended_at.unwrap_or(UnixMs(u64::MAX));
    SHOWN
        .iter()
        .filter_map(|measure| series.iter().find(|series| series.measure == *measure))
        .map(|series| {
            let Style { name, unit, scale, low_is_bad } = style(&series.measure);
            let stretches = [(UnixMs(0), facts.began_at), (facts.began_at, end), (end, UnixMs(u64::MAX))];
            let bands = stretches.map(|(from, to)| band(series, from, to, scale, low_is_bad));
            Row { name, unit, worst: if low_is_bad { "least" } else { "most" }, bands }
        })
        .collect()
}

/// `None` where there is no value.
fn band(series: &Series, from: UnixMs, to: UnixMs, scale: f64, low_is_bad: bool) -> Option<Band> {
    let inside = series.points.iter().filter(|point| point.at >= from && point.at < to);
    let values: Vec<f64> = inside.filter_map(|point| point.value).map(|value| value * scale).collect();
    let worst = values.iter().copied().reduce(if low_is_bad { f64::min } else { f64::max })?;
    Some(Band { mean: values.iter().sum::<f64>() / values.len() as f64, worst })
}

/// A value in three figures, with thousands apart.
pub(super) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        _ if magnitude < 0.0005 => return "0".to_owned(),
        _ if magnitude < 1.0 => 3,
        _ if magnitude < 10.0 => 2,
        _ if magnitude < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = thousands(whole);
    if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") }
}

fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let left = digits.len() - at;
        if at > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as people say it.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", s, ms % 1000 / 100),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_readable() {
        for (value, text) in [
            (0.0, "0"),
            (0.0001, "0"),
            (0.25, "0.25"),
            (3.0, "3"),
            (9.876, "9.88"),
            (42.04, "42"),
            (99.96, "100"),
            (999.6, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1234.0, "-1,234"),
        ] {
            assert_eq!(figure(value), text);
        }
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_990, "1.9 s"),
            (61_000, "1 min 01 s"),
            (3_600_000, "1 h 00 min"),
            (90_061_000, "25 h 01 min"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }
}
