//! A run in words, in a table, and in JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::plan::Plan;
use super::plot::{bars, duration};
use super::record::{ErrorKind, Record};
use super::run::Progress;
use super::summary::{Ended, Summary};

/// The quantiles of the table, with their names.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One line about the last interval.
#[must_use]
pub fn live_line(progress: &Progress<'_>) -> String {
    let Progress { elapsed, interval, interval_length, total } = progress;
    let rate = interval.answers() as f64 / interval_length.as_secs_f64().max(f64::MIN_POSITIVE);
    let latency = |quantile| duration(interval.latency().value_at_quantile(quantile));
    format!(
        "{:>4.0} s  {:>11}/s  p50 {:>7}  p99 {:>7}  denied {}  errors {}",
        elapsed.as_secs_f64(),
        grouped(rate.round() as u64),
        latency(0.5),
        latency(0.99),
        percent(interval.denied(), interval.answers()),
        grouped(total.errors()),
    )
}

/// The table and the plot, for people.
#[must_use]
pub fn table(plan: &Plan, summary: &Summary) -> String {
    let record = &summary.record;
    let mut text = format!("{}\n\n", heading(plan));
    let mut line = |name: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<9} {value}");
    };
    line(
        "answers",
        format!(
            "{} in {:.2} s: {}/s",
            grouped(record.answers()),
            summary.elapsed.as_secs_f64(),
            grouped(summary.answers_per_second().round() as u64)
        ),
    );
    let share = |count| format!("{} ({})", grouped(count), percent(count, record.answers()));
    line("allowed", share(record.allowed()));
    line("denied", share(record.denied()));
    line("bytes", format!("{} sent, {} received", bytes(record.bytes_sent), bytes(record.bytes_received)));
    line("errors", errors(record));
    remarks(summary).into_iter().for_each(|remark| line("note", remark));
    if record.answers() > 0 {
        let latency = |(name, quantile)| format!("{name} {}", duration(value_ns(record, quantile)));
        line("latency", QUANTILES.map(latency).join("   "));
        text.push('\n');
        text.push_str(&bars(record.latency()));
    }
    text
}

fn heading(plan: &Plan) -> String {
    let s = plan.settings();
    let plural = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let depth = if s.pipeline == 1 { String::new() } else { format!(" of {} requests each", s.pipeline) };
    let mode = s.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
    format!(
        "{}, policy {}: {mode}, {}{depth}, {}, {} {}, cost {}",
        s.target,
        s.policy,
        plural(s.connections.into(), "connection"),
        plural(s.threads.into(), "thread"),
        plural(s.keys, "key"),
        s.distribution,
        s.cost,
    )
}

fn errors(record: &Record) -> String {
    if record.errors() == 0 {
        return "none".to_owned();
    }
    let kinds = ErrorKind::ALL.map(|kind| (kind.label().to_owned(), record.errors_of(kind)));
    let statuses = record.statuses().into_iter().filter(|(status, _)| !matches!(status, 200 | 429));
    let statuses = statuses.map(|(status, count)| (format!("status {status}"), count));
    let counts = kinds.into_iter().chain(statuses).filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(name, count)| format!("{} {name}", grouped(count))).collect();
    let first = record.first_error().map_or(String::new(), |why| format!("; the first: {why}"));
    format!("{}{first}", counts.join(", "))
}

fn remarks(summary: &Summary) -> Vec<String> {
    let mut remarks = Vec::new();
    match summary.ended {
        Ended::Completed => {}
        Ended::Stopped => {
            remarks.push(format!("stopped by hand, {} requests not waited for", grouped(summary.abandoned)));
        }
        Ended::GaveUp => remarks.push("gave up: every connection failed too often in a row".to_owned()),
    }
    if summary.unsent > 0 {
        remarks.push(format!(
            "{} requests were due and not sent: the rate was not kept; more connections or threads, or a \
             deeper pipeline, may keep it",
            grouped(summary.unsent)
        ));
    }
    remarks
}

fn value_ns(record: &Record, quantile: f64) -> u64 {
    record.latency().value_at_quantile(quantile)
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "0 %".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// The outcome with stable names: fields are added, never renamed.
#[derive(Serialize)]
struct Outcome<'p> {
    target: String,
    policy: &'p str,
    mode: &'static str,
    connections: u32,
    pipeline: u32,
    threads: u32,
    rate: Option<u64>,
    keys: u64,
    distribution: String,
    cost: u64,
    seed: u64,
    ended: &'static str,
    elapsed_s: f64,
    requests_per_s: f64,
    sent: u64,
    answered: u64,
    allowed: u64,
    denied: u64,
    unsent: u64,
    abandoned: u64,
    connected: u64,
    bytes_sent: u64,
    bytes_received: u64,
    statuses: BTreeMap<u16, u64>,
    errors: Errors,
    first_error: Option<&'p str>,
    latency_ns: Latency,
}

#[derive(Serialize)]
struct Errors {
    total: u64,
    connect: u64,
    timeout: u64,
    closed: u64,
    protocol: u64,
    status: u64,
}

#[derive(Serialize)]
struct Latency {
    min: u64,
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

/// The outcome for programs: one JSON object on one line.
///
/// # Errors
/// Never in practice: numbers and texts always have a JSON form.
pub fn json(plan: &Plan, summary: &Summary) -> Result<String, serde_json::Error> {
    let (s, record) = (plan.settings(), &summary.record);
    serde_json::to_string(&Outcome {
        target: s.target.to_string(),
        policy: &s.policy,
        mode: if s.rate.is_some() { "open" } else { "closed" },
        connections: s.connections,
        pipeline: s.pipeline,
        threads: s.threads,
        rate: s.rate,
        keys: s.keys,
        distribution: s.distribution.to_string(),
        cost: s.cost,
        seed: s.seed,
        ended: summary.ended.label(),
        elapsed_s: summary.elapsed.as_secs_f64(),
        requests_per_s: summary.answers_per_second(),
        sent: record.sent,
        answered: record.answers(),
        allowed: record.allowed(),
        denied: record.denied(),
        unsent: summary.unsent,
        abandoned: summary.abandoned,
        connected: record.connected,
        bytes_sent: record.bytes_sent,
        bytes_received: record.bytes_received,
        statuses: record.statuses(),
        errors: Errors {
            total: record.errors(),
            connect: record.errors_of(ErrorKind::Connect),
            timeout: record.errors_of(ErrorKind::Timeout),
            closed: record.errors_of(ErrorKind::Closed),
            protocol: record.errors_of(ErrorKind::Protocol),
            status: record.unexpected(),
        },
        first_error: record.first_error(),
        latency_ns: Latency {
            min: record.latency().min(),
            mean: record.latency().mean(),
            p50: value_ns(record, 0.5),
            p90: value_ns(record, 0.9),
            p99: value_ns(record, 0.99),
            p99_9: value_ns(record, 0.999),
            max: record.latency().max(),
        },
    })
}

#[cfg(test)]
mod tests;
