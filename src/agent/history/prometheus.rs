//! The same measures from Prometheus' HTTP API, for a time that the ring no longer has.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::series::{Measure, Point, Series};
use crate::agent::https::{BaseUrl, CallError, Client, Request, Response, Service};
use crate::agent::secret::{SecretError, SecretSource};
use crate::agent::types::UnixMs;
use crate::percent::percent_encode;
use crate::time::whole_ms;

static PROMETHEUS: Service = Service {
    name: "Prometheus",
    credential: "renew the bearer token for its API",
    status_page: None,
    throttle_marks: &[],
};
/// More is not seen in a plot, and Prometheus refuses more than 11,000.
const MAX_POINTS: u64 = 720;
const MAX_KEYS: usize = 64;
/// `rate` needs two samples in its window, and one may be missed.
const SCRAPES_A_WINDOW: u64 = 4;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queries {
    /// Labels that choose this server's series, as between the braces of a selector:
    /// `job="openclaw-rating",instance="edge-1:9100"`; empty for all.
    pub selector: String,
    /// How often Prometheus scrapes it: the least distance between points.
    pub scrape_interval: Duration,
}

impl Default for Queries {
    fn default() -> Self {
        Self { selector: String::new(), scrape_interval: Duration::from_secs(15) }
    }
}

/// Why there is no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Prometheus does not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Reads time ranges from Prometheus, or from what speaks its API.
#[derive(Debug)]
pub struct Prometheus {
    /// Sends the calls; its limit on the bytes of an answer should be [`Self::MAX_ANSWER_BYTES`].
    pub client: Client,
    /// Up to and without `/api/v1`.
    pub base: BaseUrl,
    /// A bearer token, when it wants one.
    pub token: Option<SecretSource>,
    /// What is asked for.
    pub queries: Queries,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// The times at which a range is evaluated.
#[derive(Clone, Copy)]
struct Grid {
    from_ms: u64,
    step_ms: u64,
    last: u64,
}

impl Prometheus {
    /// What 64 keys of 720 points take, and as much again.
    pub const MAX_ANSWER_BYTES: u64 = 4 << 20;

    /// What is known from `from` to `to`, of every measure that has a value then.
    ///
    /// # Errors
    /// At the first query that is not answered as it should be.
    pub fn range(&self, from: UnixMs, to: UnixMs) -> Result<Vec<Series>, QueryError> {
        let grid = Grid::new(from, to, self.queries.scrape_interval);
        let token = self.token.as_ref().map(SecretSource::read).transpose()?;
        let mut all = Vec::new();
        for (measure, query) in self.queries.all() {
            let [query, start, end, step] = [
                percent_encode(&query),
                seconds(grid.from_ms),
                seconds(grid.time(grid.last)),
                seconds(grid.step_ms),
            ];
            let target = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
            let mut request = Request::get(self.base.join(&target));
            if let Some(token) = &token {
                request = request.bearer(token);
            }
            let response = self.client.call(&PROMETHEUS, &request)?;
            all.extend(read(&response, measure, grid)?.into_iter().filter(Series::has_values));
        }
        Ok(all)
    }
}

impl Queries {
    /// Each measure and its query; without one where the labels of the answer say which.
    fn all(&self) -> [(Option<Measure>, String); 7] {
        let selector = &self.selector;
        let window_s = SCRAPES_A_WINDOW * self.scrape_interval.as_secs().max(1);
        let rate = |name: &str, more: &str| format!("sum(rate({name}{{{more}{selector}}}[{window_s}s]))");
        let share = format!(
            "openclaw_token_bucket_available{{{selector}}} / openclaw_token_bucket_capacity{{{selector}}}"
        );
        let p99 = format!(
            "1e6 * histogram_quantile(0.99, sum by (le) \
             (rate(openclaw_request_duration_seconds_bucket{{{selector}}}[{window_s}s])))"
        );
        [
            (Some(Measure::Available), format!("min({share})")),
            (Some(Measure::Checks), rate("openclaw_checks_total", "")),
            (Some(Measure::Denials), rate("openclaw_checks_total", "result=\"denied\",")),
            (Some(Measure::Errors), rate("openclaw_request_errors_total", "")),
            (Some(Measure::P99), p99),
            (Some(Measure::ReplicationLag), format!("1000 * max(openclaw_peer_lag_seconds{{{selector}}})")),
            (None, format!("min by (policy, key) ({share})")),
        ]
    }
}

impl Grid {
    fn new(from: UnixMs, to: UnixMs, scrape_interval: Duration) -> Self {
        let scrape_ms = whole_ms(scrape_interval).max(1000);
        let step_ms = to.since_ms(from).div_ceil(MAX_POINTS - 1).max(scrape_ms);
        Self { from_ms: from.0, step_ms, last: to.since_ms(from) / step_ms }
    }

    const fn time(self, index: u64) -> u64 {
        self.from_ms.saturating_add(index.saturating_mul(self.step_ms))
    }

    /// The point that a time in seconds belongs to.
    fn index(self, at_s: f64) -> Option<usize> {
        let steps = (at_s * 1000.0 - self.from_ms as f64) / self.step_ms as f64;
        let index = steps.round();
        let is_on_grid = (steps - index).abs() < 0.01 && (0.0..=self.last as f64).contains(&index);
        is_on_grid.then_some(index as usize)
    }
}

fn read(response: &Response, measure: Option<Measure>, grid: Grid) -> Result<Vec<Series>, CallError> {
    let answer: Answer = response.json()?;
    let data = match answer.data {
        Some(data) if answer.status == "success" && data.result_type == "matrix" => data,
        _ => return Err(response.not_understood("it is not a successful matrix")),
    };
    let Some(measure) = measure else {
        let rows = data.result.into_iter().take(MAX_KEYS);
        return rows.map(|row| series_of(response, key_of(&row), row, grid)).collect();
    };
    let mut rows = data.result.into_iter();
    match (rows.next(), rows.next()) {
        (None, _) => Ok(Vec::new()),
        (Some(row), None) => Ok(vec![series_of(response, measure, row, grid)?]),
        _ => Err(response.not_understood("there is more than one series where one was asked for")),
    }
}

fn key_of(row: &Row) -> Measure {
    let label = |name| row.metric.get(name).map_or("", String::as_str);
    Measure::AvailableOf { key: format!("{}/{}", label("policy"), label("key")) }
}

/// Times without a sample, and values that are no numbers, are gaps.
fn series_of(response: &Response, measure: Measure, row: Row, grid: Grid) -> Result<Series, CallError> {
    let gap = |index| Point { at: UnixMs(grid.time(index)), value: None };
    let mut points: Vec<_> = (0..=grid.last).map(gap).collect();
    for (at_s, value) in row.values {
        let value: f64 = value.parse().map_err(|_| response.not_understood("a value is no number"))?;
        let point = grid.index(at_s).and_then(|index| points.get_mut(index));
        let point = point.ok_or_else(|| response.not_understood("a time is not one that was asked for"))?;
        point.value = Some(value).filter(|value| value.is_finite());
    }
    Ok(Series { measure, step_ms: grid.step_ms, points })
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_range_asks_for_more_points_than_are_answered() {
        for (range_ms, scrape_s, step_ms, last) in [
            (0, 15, 15_000, 0),
            (60_000, 15, 15_000, 4),
            (3_600_000, 1, 5_007, 718),
            (719_000, 0, 1000, 719),
            (u64::MAX, 15, u64::MAX / 719 + 1, 718),
        ] {
            let grid = Grid::new(UnixMs(0), UnixMs(range_ms), Duration::from_secs(scrape_s));
            assert_eq!((grid.step_ms, grid.last), (step_ms, last), "{range_ms} {scrape_s}");
            assert!(grid.last < MAX_POINTS);
        }
    }

    #[test]
    fn only_times_on_the_grid_have_a_place() {
        let grid = Grid { from_ms: 1_764_053_000_123, step_ms: 15_000, last: 4 };
        assert_eq!(grid.index(1_764_053_000.123), Some(0));
        assert_eq!(grid.index(1_764_053_060.123), Some(4));
        for off in [1_764_053_075.123, 1_764_052_985.123, 1_764_053_007.0, f64::NAN, f64::INFINITY] {
            assert_eq!(grid.index(off), None, "{off}");
        }
    }

    #[test]
    fn a_selector_chooses_in_every_query() {
        let queries = Queries { selector: "job=\"x\"".to_owned(), ..Queries::default() };
        for (_, query) in queries.all() {
            assert!(query.contains("job=\"x\"}"), "{query}");
        }
        assert_eq!(queries.all()[2].1, "sum(rate(openclaw_checks_total{result=\"denied\",job=\"x\"}[60s]))");
    }
}
