//! What reports promise.

use std::time::Duration;

use super::*;
use crate::load::plan::Settings;

fn plan() -> Plan {
    Plan::new(Settings { rate: Some(1000), ..Settings::default() }).unwrap()
}

fn summary(change: impl FnOnce(&mut Record)) -> Summary {
    let mut record = Record::new();
    (0..1500).for_each(|_| record.answered(200, 100_000));
    (0..500).for_each(|_| record.answered(429, 400_000));
    (record.sent, record.bytes_sent, record.bytes_received) = (2000, 160_000, 20_000_000);
    change(&mut record);
    Summary { record, elapsed: Duration::from_secs(2), unsent: 0, abandoned: 0, ended: Ended::Completed }
}

#[test]
fn the_table_shows_the_plan_the_counts_and_the_latencies() {
    let text = table(&plan(), &summary(|_| {}));
    for line in [
        "http://127.0.0.1:8080, policy default: open loop at 1000/s, 64 connections, 1 thread, 10000 keys \
         uniform, cost 1",
        "answers   2,000 in 2.00 s: 1,000/s",
        "allowed   1,500 (75.0 %)",
        "denied    500 (25.0 %)",
        "bytes     160.0 kB sent, 20.0 MB received",
        "errors    none",
        "latency   p50 100 µs   p90 400 µs   p99 400 µs   p99.9 400 µs   max 400 µs",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("note"));
}

#[test]
fn errors_are_told_by_kind_with_the_first_in_words() {
    let mut summary = summary(|record| {
        record.failed(ErrorKind::Timeout, 3, || "no answer came within 5s".to_owned());
        record.answered(503, 1000);
    });
    summary.unsent = 12_000;
    summary.ended = Ended::GaveUp;
    let text = table(&plan(), &summary);
    assert!(
        text.contains("errors    3 timeout, 1 status 503; the first: no answer came within 5s"),
        "{text}"
    );
    assert!(text.contains("note      gave up"));
    assert!(text.contains("note      12,000 requests were due and not sent"));
}

#[test]
fn a_run_without_answers_has_a_table_too() {
    let mut summary = summary(|_| {});
    summary.record = Record::new();
    summary.elapsed = Duration::ZERO;
    summary.ended = Ended::Stopped;
    summary.abandoned = 64;
    let text = table(&plan(), &summary);
    assert!(text.contains("answers   0 in 0.00 s: 0/s"));
    assert!(text.contains("stopped by hand, 64 requests not waited for"));
    assert!(!text.contains("latency"));
}

#[test]
fn json_has_stable_names() {
    let text = json(&plan(), &summary(|record| record.answered(503, 7))).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = "target policy mode connections pipeline threads rate keys distribution \
        cost seed ended elapsed_s requests_per_s sent answered allowed denied unsent abandoned connected \
        bytes_sent bytes_received statuses errors first_error latency_ns"
        .split_whitespace()
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert_eq!(value["mode"], "open");
    assert_eq!(value["statuses"], serde_json::json!({"200": 1500, "429": 500, "503": 1}));
    assert_eq!(value["errors"]["total"], 1);
    assert_eq!(value["errors"]["status"], 1);
    assert_eq!(value["latency_ns"]["p50"].as_u64().unwrap() / 1000, 100);
    assert_eq!(value["latency_ns"]["p99_9"].as_u64().unwrap() / 1000, 400);
    assert_eq!(value["requests_per_s"], 1000.5);
}

#[test]
fn the_live_line_is_of_the_last_interval() {
    let (interval, total) = (summary(|_| {}).record, summary(|r| r.answered(500, 1)).record);
    let interval_length = Duration::from_millis(500);
    let progress =
        Progress { elapsed: Duration::from_secs(3), interval: &interval, interval_length, total: &total };
    let expected = "   3 s        4,000/s  p50  100 µs  p99  400 µs  denied 25.0 %  errors 1";
    assert_eq!(live_line(&progress), expected);
}
