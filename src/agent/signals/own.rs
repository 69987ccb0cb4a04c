//! This server's own figures, and what they become. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::threshold::{Threshold, ThresholdLimits};
use crate::agent::types::UnixMs;
use crate::time::whole_ms;

/// A figure is over when it has come back by half of the way, and stays.
const BACK: f64 = 1.5;
/// A signal is lowered after this long at the most.
const MAX_LOWER_MS: u64 = 60_000;
/// At least this many requests a second say something of their errors and latencies.
const MIN_REQUESTS_PER_S: f64 = 1.0;

/// When a figure is a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnLimits {
    /// Percent of a watched bucket below which it is low.
    pub tokens_low_percent: f64,
    /// For this long.
    pub tokens_low_for: Duration,
    /// Percent of a watched bucket below which it is critical.
    pub tokens_critical_percent: f64,
    /// For this long.
    pub tokens_critical_for: Duration,
    /// Percent of requests that fail on this server's account.
    pub error_percent: f64,
    /// For this long.
    pub errors_for: Duration,
    /// The slowest hundredth of requests.
    pub p99: Duration,
    /// For this long.
    pub p99_for: Duration,
    /// Percent of the state directory's file system that must be free.
    pub disk_free_percent: f64,
}

/// What a figure has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnSignal {
    /// A watched bucket is low.
    TokensLow,
    /// A watched bucket is almost empty.
    TokensCritical,
    /// Too many requests fail.
    Errors,
    /// Requests are too slow.
    Slow,
    /// A data thread does not turn.
    StalledCore,
    /// The disk is almost full.
    DiskFull,
}

impl OwnSignal {
    /// Its name in the journal and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokensLow => "tokens_low",
            Self::TokensCritical => "tokens_critical",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::StalledCore => "stalled_core",
            Self::DiskFull => "disk_full",
        }
    }
}

/// What this server looks like now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnFigures {
    /// Watched buckets.
    pub tokens: Vec<TokenShare>,
    /// Requests a second, with and without success.
    pub requests_per_s: f64,
    /// Those among them that failed on this server's account.
    pub errors_per_s: f64,
    /// The slowest hundredth of the last second.
    pub p99: Option<Duration>,
    /// Whether a data thread does not turn.
    pub is_stalled: bool,
    /// Percent of the state directory's file system that is free.
    pub disk_free_percent: Option<f64>,
}

/// How full a watched bucket is.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenShare {
    /// `policy/key`.
    pub key: String,
    /// Percent of its capacity.
    pub percent: f64,
}

/// A signal was raised or lowered.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalChange {
    /// The signal that changed.
    pub signal: OwnSignal,
    /// What it is about: a watched key, or nothing.
    pub subject: String,
    /// Whether it is raised now.
    pub is_raised: bool,
    /// What was seen, for a person.
    pub detail: String,
}

/// All own signals.
#[derive(Debug)]
pub struct OwnSignals {
    limits: OwnLimits,
    tokens: BTreeMap<String, [Threshold; 2]>,
    errors: Threshold,
    slow: Threshold,
    stalled: Threshold,
    disk: Threshold,
}

fn threshold(enter: f64, leave: f64, raise_after: Duration) -> Threshold {
    let raise_after_ms = whole_ms(raise_after);
    let lower_after_ms = raise_after_ms.min(MAX_LOWER_MS);
    Threshold::new(ThresholdLimits { enter, leave, raise_after_ms, lower_after_ms })
}

/// Of one watched bucket.
fn of_tokens(limits: &OwnLimits) -> [Threshold; 2] {
    let OwnLimits { tokens_low_percent: low, tokens_critical_percent: critical, .. } = *limits;
    [
        threshold(low, low * BACK, limits.tokens_low_for),
        threshold(critical, critical * BACK, limits.tokens_critical_for),
    ]
}

impl OwnSignals {
    /// None raised.
    #[must_use]
    pub fn new(limits: OwnLimits) -> Self {
        let OwnLimits { error_percent, errors_for, p99, p99_for, disk_free_percent, .. } = limits;
        Self {
            limits,
            tokens: BTreeMap::new(),
            errors: threshold(error_percent, error_percent / BACK, errors_for),
            slow: threshold(p99.as_secs_f64(), p99.as_secs_f64() / BACK, p99_for),
            // The watchdog has waited already.
            stalled: threshold(0.5, 0.0, Duration::ZERO),
            disk: threshold(disk_free_percent, disk_free_percent * BACK, Duration::ZERO),
        }
    }

    /// The signals that are raised, with their subjects.
    pub fn raised(&self) -> impl Iterator<Item = (OwnSignal, &str)> {
        let one = |signal, threshold: &Threshold| threshold.is_raised().then_some((signal, ""));
        let single = [
            one(OwnSignal::Errors, &self.errors),
            one(OwnSignal::Slow, &self.slow),
            one(OwnSignal::StalledCore, &self.stalled),
            one(OwnSignal::DiskFull, &self.disk),
        ];
        let tokens = self.tokens.iter().flat_map(|(key, [low, critical])| {
            let of = |signal, threshold: &Threshold| threshold.is_raised().then_some((signal, key.as_str()));
            [of(OwnSignal::TokensLow, low), of(OwnSignal::TokensCritical, critical)]
        });
        single.into_iter().chain(tokens).flatten()
    }

    /// Takes a signal as raised, of which only name and subject are known.
    pub fn take_up(&mut self, name: &str, subject: &str) {
        let limits = self.limits;
        let threshold = match name {
            "errors" => &mut self.errors,
            "slow" => &mut self.slow,
            "stalled_core" => &mut self.stalled,
            "disk_full" => &mut self.disk,
            "tokens_low" | "tokens_critical" => {
                let both = self.tokens.entry(subject.to_owned()).or_insert_with(|| of_tokens(&limits));
                &mut both[usize::from(name == "tokens_critical")]
            }
            _ => return,
        };
        threshold.raise();
    }

    /// Takes the figures of this moment; the signals that were raised or lowered by them.
    pub fn observe(&mut self, now: UnixMs, figures: &OwnFigures) -> Vec<SignalChange> {
        let mut changes = self.observe_tokens(now, &figures.tokens);
        let mut note = |signal, change: Option<bool>, detail: String| {
            changes.extend(change.map(|is_raised| SignalChange {
                signal,
                subject: String::new(),
                is_raised,
                detail,
            }));
        };
        let counts = figures.requests_per_s >= MIN_REQUESTS_PER_S;
        let percent = counts.then(|| 100.0 * figures.errors_per_s / figures.requests_per_s);
        let detail = format!("{:.1} % of requests fail", percent.unwrap_or_default());
        note(OwnSignal::Errors, self.errors.observe(now, percent), detail);
        let detail = format!("the slowest hundredth of requests takes {:?}", figures.p99.unwrap_or_default());
        note(
            OwnSignal::Slow,
            self.slow.observe(now, figures.p99.filter(|_| counts).map(|p99| p99.as_secs_f64())),
            detail,
        );
        let stalled = Some(f64::from(u8::from(figures.is_stalled)));
        let detail = if figures.is_stalled { "a data thread does not turn" } else { "all data threads turn" };
        note(OwnSignal::StalledCore, self.stalled.observe(now, stalled), detail.to_owned());
        let detail = format!(
            "{:.1} % of the state directory's disk is free",
            figures.disk_free_percent.unwrap_or_default()
        );
        note(OwnSignal::DiskFull, self.disk.observe(now, figures.disk_free_percent), detail);
        changes
    }

    fn observe_tokens(&mut self, now: UnixMs, tokens: &[TokenShare]) -> Vec<SignalChange> {
        let mut changes = Vec::new();
        // A reload may take a policy away, and its keys with it.
        let is_watched = |key: &str| tokens.iter().any(|share| share.key == key);
        let gone = self.raised().filter(|(_, subject)| !subject.is_empty() && !is_watched(subject));
        changes.extend(gone.map(|(signal, key)| SignalChange {
            signal,
            subject: key.to_owned(),
            is_raised: false,
            detail: format!("{key} is not watched"),
        }));
        self.tokens.retain(|key, _| is_watched(key));
        for TokenShare { key, percent } in tokens {
            let limits = self.limits;
            let thresholds = self.tokens.entry(key.clone()).or_insert_with(|| of_tokens(&limits));
            for (threshold, signal) in
                thresholds.iter_mut().zip([OwnSignal::TokensLow, OwnSignal::TokensCritical])
            {
                let detail = format!("{percent:.1} % of the tokens of {key} are left");
                let change = threshold.observe(now, Some(*percent));
                changes.extend(change.map(|is_raised| SignalChange {
                    signal,
                    subject: key.clone(),
                    is_raised,
                    detail,
                }));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> OwnLimits {
        OwnLimits {
            tokens_low_percent: 10.0,
            tokens_low_for: Duration::from_secs(120),
            tokens_critical_percent: 5.0,
            tokens_critical_for: Duration::from_secs(30),
            error_percent: 5.0,
            errors_for: Duration::from_secs(30),
            p99: Duration::from_millis(50),
            p99_for: Duration::from_secs(60),
            disk_free_percent: 5.0,
        }
    }

    /// What is raised and lowered when `figures` holds for `seconds`, from second `from` on.
    fn run(
        signals: &mut OwnSignals,
        from: u64,
        seconds: u64,
        figures: &OwnFigures,
    ) -> Vec<(u64, &'static str, bool)> {
        (from..from + seconds)
            .flat_map(|s| {
                signals
                    .observe(UnixMs(s * 1000), figures)
                    .into_iter()
                    .map(move |c| (s, c.signal.name(), c.is_raised))
            })
            .collect()
    }

    fn tokens(percent: f64) -> OwnFigures {
        let tokens = vec![TokenShare { key: "api/alice".to_owned(), percent }];
        OwnFigures { tokens, disk_free_percent: Some(50.0), ..OwnFigures::default() }
    }

    #[test]
    fn a_bucket_under_ten_percent_for_two_minutes_is_low_and_under_five_for_thirty_seconds_critical() {
        let mut signals = OwnSignals::new(limits());
        assert_eq!(run(&mut signals, 0, 120, &tokens(9.0)), []);
        assert_eq!(run(&mut signals, 120, 1, &tokens(9.0)), [(120, "tokens_low", true)]);
        assert_eq!(run(&mut signals, 121, 31, &tokens(4.9)), [(151, "tokens_critical", true)]);
        assert_eq!(
            signals.raised().map(|(s, key)| (s.name(), key)).collect::<Vec<_>>(),
            [("tokens_low", "api/alice"), ("tokens_critical", "api/alice")]
        );
        let over = run(&mut signals, 152, 120, &tokens(90.0));
        assert_eq!(over, [(182, "tokens_critical", false), (212, "tokens_low", false)]);
    }

    #[test]
    fn each_figure_is_a_signal_beyond_its_bound_only() {
        let quiet =
            OwnFigures { disk_free_percent: Some(50.0), requests_per_s: 100.0, ..OwnFigures::default() };
        type Row<'r> = (OwnFigures, u64, &'r [(u64, &'r str, bool)]);
        let table: [Row<'_>; 7] = [
            (OwnFigures { errors_per_s: 5.0, ..quiet.clone() }, 100, &[]),
            (OwnFigures { errors_per_s: 5.1, ..quiet.clone() }, 31, &[(30, "errors", true)]),
            (OwnFigures { p99: Some(Duration::from_millis(51)), ..quiet.clone() }, 61, &[(60, "slow", true)]),
            (
                OwnFigures { p99: Some(Duration::from_millis(51)), requests_per_s: 0.5, ..quiet.clone() },
                100,
                &[],
            ),
            (OwnFigures { is_stalled: true, ..quiet.clone() }, 2, &[(0, "stalled_core", true)]),
            (OwnFigures { disk_free_percent: Some(4.0), ..quiet.clone() }, 2, &[(0, "disk_full", true)]),
            (OwnFigures { disk_free_percent: None, ..quiet }, 2, &[]),
        ];
        for (figures, seconds, expected) in table {
            let mut signals = OwnSignals::new(limits());
            assert_eq!(run(&mut signals, 0, seconds, &figures), expected, "{figures:?}");
        }
    }

    #[test]
    fn a_key_that_is_watched_no_more_is_forgotten() {
        let mut signals = OwnSignals::new(limits());
        run(&mut signals, 0, 121, &tokens(1.0));
        let changes = signals.observe(UnixMs(200_000), &OwnFigures::default());
        assert!(changes.len() == 2 && changes.iter().all(|change| !change.is_raised), "{changes:?}");
        assert_eq!(signals.raised().count(), 0);
    }

    #[test]
    fn what_an_earlier_life_raised_is_lowered_by_this_one() {
        let mut signals = OwnSignals::new(limits());
        for (name, subject) in [("disk_full", ""), ("tokens_low", "api/alice"), ("alert", "Slow/ab12")] {
            signals.take_up(name, subject);
        }
        let all_well = OwnFigures { disk_free_percent: Some(50.0), ..tokens(100.0) };
        let lowered = run(&mut signals, 0, 121, &all_well);
        let names: Vec<_> = lowered.iter().map(|(_, name, is_raised)| (*name, *is_raised)).collect();
        assert_eq!(names, [("disk_full", false), ("tokens_low", false)]);
    }
}
