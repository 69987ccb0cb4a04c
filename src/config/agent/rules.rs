//! How the agent decides: probes, thresholds of signals, pauses and caps, what a target must show.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::policy;
use super::super::section::{Section, Text};
use super::super::units::parse_duration;
use crate::agent::orders::AgentMode;

const SHORT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(60);
const LONG: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
const PERCENT: RangeInclusive<u64> = 0..=100;
const MAX_LOAD_PER_S: u64 = 1000;
const MAX_LOAD: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(30);
/// Keys of the synthetic load begin so; no client's key should.
pub const VALIDATION_KEY_PREFIX: &str = "openclaw-validation-";

/// `[agent.probe]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Between two probes of one URL.
    pub interval: Duration,
    /// From the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// Failures in a row, and
    pub down_after: u32,
    /// this long since the last success, whichever is later, and it cannot be seen.
    pub down_for: Duration,
    /// Successes in a row until it is seen again.
    pub up_after: u32,
}

/// `[agent.signals]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalConfig {
    /// Percent of a watched bucket below which it is low.
    pub tokens_low_percent: u8,
    /// After this long.
    pub tokens_low_for: Duration,
    /// Percent of a watched bucket below which it is critical.
    pub tokens_critical_percent: u8,
    /// After this long.
    pub tokens_critical_for: Duration,
    /// Percent of requests that fail on this server's account.
    pub error_percent: u8,
    /// For this long.
    pub errors_for: Duration,
    /// The slowest hundredth of requests.
    pub p99: Duration,
    /// For this long.
    pub p99_for: Duration,
    /// Percent of the state directory's file system that must be free.
    pub disk_free_percent: u8,
}

/// What follows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Only a person moves traffic back.
    Manual,
    /// After so long without a fault.
    After(Duration),
}

/// Pauses and caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceConfig {
    /// In automatic mode, between the page and the act.
    pub hold_off: Duration,
    /// Between the page and giving up: on an answer, or on what stands against acting.
    pub ack_timeout: Duration,
    /// Between two switches.
    pub cooldown: Duration,
    /// Switches a day that need no person.
    pub max_switches_per_day: u32,
    /// How traffic goes back.
    pub failback: Failback,
    /// Incidents whose reports are left on disk.
    pub keep_reports: u32,
}

/// `[agent.validation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationConfig {
    /// Whose buckets the synthetic load asks for.
    pub policy: String,
    /// Requests a second.
    pub rate_per_s: u32,
    /// For this long.
    pub duration: Duration,
    /// Percent of its requests that may fail.
    pub max_error_percent: u8,
    /// The slowest hundredth of its requests.
    pub max_p99: Duration,
    /// Mean percent of watched buckets in the target.
    pub min_tokens_percent: u8,
    /// Age of what peers have not acknowledged.
    pub max_lag: Duration,
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn percent(section: &mut Section<'_>, key: &'static str, usual: u8) -> u8 {
    let value = section.integer(key, PERCENT);
    value.and_then(|value| u8::try_from(value).ok()).unwrap_or(usual)
}

fn number(section: &mut Section<'_>, key: &'static str, range: RangeInclusive<u64>, usual: u32) -> u32 {
    section.integer(key, range).and_then(|value| u32::try_from(value).ok()).unwrap_or(usual)
}

pub(super) fn read_probe(agent: &mut Section<'_>) -> ProbeConfig {
    let mut section = agent.section("probe");
    let probe = ProbeConfig {
        interval: section.duration("interval", SHORT).unwrap_or(Duration::from_millis(400)),
        timeout: section.duration("timeout", SHORT).unwrap_or(Duration::from_millis(800)),
        down_after: number(&mut section, "down_after", 1..=100, 3),
        down_for: section.duration("down_for", LONG).unwrap_or(seconds(1)),
        up_after: number(&mut section, "up_after", 1..=1000, 5),
    };
    section.finish();
    probe
}

pub(super) fn read_signals(agent: &mut Section<'_>) -> SignalConfig {
    let mut section = agent.section("signals");
    let mut time = |key, usual| section.duration(key, LONG).unwrap_or(usual);
    let tokens_low_for = time("tokens_low_for", seconds(120));
    let tokens_critical_for = time("tokens_critical_for", seconds(30));
    let errors_for = time("errors_for", seconds(30));
    let p99 = time("p99", Duration::from_millis(50));
    let p99_for = time("p99_for", seconds(60));
    let config = SignalConfig {
        tokens_low_percent: percent(&mut section, "tokens_low_percent", 10),
        tokens_low_for,
        tokens_critical_percent: percent(&mut section, "tokens_critical_percent", 5),
        tokens_critical_for,
        error_percent: percent(&mut section, "error_percent", 5),
        errors_for,
        p99,
        p99_for,
        disk_free_percent: percent(&mut section, "disk_free_percent", 5),
    };
    if config.tokens_critical_percent > config.tokens_low_percent
        && let Some(value) =
            section.get("tokens_critical_percent").or_else(|| section.get("tokens_low_percent"))
    {
        let what = format!(
            "a bucket would be critical below {} % and low only below {} %",
            config.tokens_critical_percent, config.tokens_low_percent
        );
        agent.findings().wrong(value.place, what, "make tokens_low_percent the larger one");
    }
    section.finish();
    config
}

/// The keys stand in `[agent]` itself.
pub(super) fn read_pace(agent: &mut Section<'_>, mode: AgentMode) -> PaceConfig {
    let mut time = |key, usual| agent.duration(key, LONG).unwrap_or(usual);
    let hold_off = time("hold_off", Duration::from_millis(500));
    let ack_timeout = time("ack_timeout", seconds(1800));
    let cooldown = time("cooldown", seconds(600));
    // It would be over before the hold-off is, or before anybody can answer.
    let is_too_short = match mode {
        AgentMode::Automatic => hold_off >= ack_timeout,
        AgentMode::Manual => ack_timeout.is_zero(),
        AgentMode::Observe => false,
    };
    if is_too_short && let Some(value) = agent.get("hold_off").or_else(|| agent.get("ack_timeout")) {
        let what = format!(
            "an incident would be handed over {} s after its page, before the agent could act on it",
            ack_timeout.as_secs_f64()
        );
        agent.findings().wrong(value.place, what, "make ack_timeout longer than hold_off");
    }
    PaceConfig {
        hold_off,
        ack_timeout,
        cooldown,
        max_switches_per_day: number(agent, "max_switches_per_day", 1..=1000, 3),
        failback: read_failback(agent),
        keep_reports: number(agent, "keep_reports", 1..=10_000, 200),
    }
}

fn read_failback(agent: &mut Section<'_>) -> Failback {
    let Some(Text { text, place }) = agent.text("failback", "manual") else {
        return Failback::Manual;
    };
    if text == "manual" {
        return Failback::Manual;
    }
    let after = text.strip_prefix("after:").map(parse_duration);
    match after {
        Some(Ok(after)) if !after.is_zero() && after <= *LONG.end() => Failback::After(after),
        _ => {
            let what = format!("{text:?} does not say how traffic goes back");
            agent.findings().wrong(
                place,
                what,
                "write failback = \"manual\" or \"after:30min\", up to a day",
            );
            Failback::Manual
        }
    }
}

pub(super) fn read_validation(agent: &mut Section<'_>, policies: &[&str]) -> ValidationConfig {
    let mut section = agent.section("validation");
    let policy = section.text("policy", "default");
    if let Some(policy) = policy {
        policy::check_known(policy, "validate by", policies, agent.findings());
    }
    let first = policies.first().copied().unwrap_or_default();
    let config = ValidationConfig {
        policy: policy.map_or(first, |policy| policy.text).to_owned(),
        rate_per_s: number(&mut section, "rate", 1..=MAX_LOAD_PER_S, 50),
        duration: section.duration("duration", MAX_LOAD).unwrap_or(seconds(2)),
        max_error_percent: percent(&mut section, "max_error_percent", 1),
        max_p99: section.duration("max_p99", SHORT).unwrap_or(Duration::from_millis(250)),
        min_tokens_percent: percent(&mut section, "min_tokens_percent", 80),
        max_lag: section.duration("max_lag", LONG).unwrap_or(seconds(2)),
    };
    section.finish();
    config
}
