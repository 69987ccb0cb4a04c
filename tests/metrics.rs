//! Promises of `/metrics`, kept by the real program.
#![allow(clippy::unwrap_used)]

mod common;

use common::program::Program;

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
threads = 2

[node]
region = "eu"

[table]
capacity = 1000

[[policy]]
name = "api"
rate = "1/day"
burst = 10

[[policy]]
name = "seen"
rate = "1/day"
burst = 1
shadow = true

[metrics]
watch = [{ policy = "api", key = "a\"b" }, { policy = "api", key = "untouched" }]
"#;

/// The value of a series, by its name with labels.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().unwrap()
}

#[test]
fn every_check_connection_error_and_token_is_counted() {
    let program = Program::start(CONFIG);
    for _ in 0..12 {
        program.get("/v1/check/api/a%22b");
    }
    program.get("/v1/check/seen/k");
    program.get("/v1/check/seen/k");
    program.get("/v1/check/api/k?cost=0");
    program.get("/v1/check/nobody/k");
    program.get("/v1/check/api/k?cost=11");
    let page = program.get("/metrics");
    let checks = |policy, result| {
        value(&page, &format!("openclaw_checks_total{{policy=\"{policy}\",result=\"{result}\"}}"))
    };
    assert_eq!((checks("api", "allowed"), checks("api", "denied")), (10.0, 2.0));
    assert_eq!((checks("seen", "allowed"), checks("seen", "shadow_denied")), (1.0, 1.0));
    assert_eq!(checks("api", "peeked"), 1.0);
    assert_eq!(value(&page, "openclaw_request_errors_total{reason=\"unknown_policy\"}"), 1.0);
    assert_eq!(value(&page, "openclaw_request_errors_total{reason=\"bad_cost\"}"), 1.0);
    assert!(value(&page, "openclaw_connections_opened_total") >= 17.0);
    assert!(value(&page, "openclaw_received_bytes_total") > 300.0);
    for series in ["openclaw_request_duration_seconds_count", "openclaw_decision_duration_seconds_count"] {
        assert_eq!(value(&page, series), 17.0, "what was answered before the page is in its latencies");
    }
    assert_eq!(value(&page, "openclaw_table_inserts_total"), 2.0);
    let available = |key| {
        let labels = format!("{{region=\"eu\",policy=\"api\",key=\"{key}\"}}");
        value(&page, &format!("openclaw_token_bucket_available{labels}"))
    };
    assert!(available("a\\\"b") < 1.0, "the drained key has tokens");
    assert_eq!(available("untouched"), 10.0);
    assert!(value(&page, "process_resident_memory_bytes") > 1e6);
}

#[test]
fn fill_ratios_arrive_within_seconds_and_latencies_have_a_sum() {
    let program = Program::start(CONFIG);
    for _ in 0..10 {
        program.get("/v1/check/api/k");
    }
    let page = program.until("/metrics", |page| {
        value(page, "openclaw_bucket_fill_ratio_bucket{policy=\"api\",le=\"0.01\"}") == 1.0
            && value(page, "openclaw_request_duration_seconds_count") >= 10.0
    });
    assert_eq!(value(&page, "openclaw_bucket_fill_ratio_count{policy=\"api\"}"), 1.0);
    assert!(value(&page, "openclaw_decision_duration_seconds_sum") > 0.0);
}

#[test]
fn reloads_are_counted_by_result_and_policies_in_force_are_shown() {
    let program = Program::start(CONFIG);
    program.reload(&CONFIG.replace("\"seen\"", "\"new\""));
    let page =
        program.until("/metrics", |page| value(page, "openclaw_reloads_total{result=\"applied\"}") == 1.0);
    assert!(page.contains("policy=\"new\"") && !page.contains("policy=\"seen\""));
    program.reload("[[policy]]\nname = 1");
    program.until("/metrics", |page| value(page, "openclaw_reloads_total{result=\"refused\"}") == 1.0);
}

#[test]
fn many_ask_at_once_and_all_are_answered() {
    let program = Program::start(CONFIG);
    let ask = || assert!((0..10).all(|_| program.get("/metrics").contains("openclaw_healthy 1")));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(ask);
        }
    });
}

#[test]
fn the_memory_of_the_table_is_taken_at_the_start_unless_that_is_not_wanted() {
    const TABLE_BYTES: f64 = (65 << 20) as f64;
    for (populate, is_taken) in [(true, true), (false, false)] {
        let table = format!("capacity = 750000\npopulate = {populate}");
        let program = Program::start(&CONFIG.replace("capacity = 1000", &table));
        let page = program.get("/metrics");
        let resident = value(&page, "process_resident_memory_bytes");
        assert_eq!(resident > TABLE_BYTES, is_taken, "{resident} bytes with populate = {populate}");
    }
}

#[test]
fn promtool_finds_nothing() {
    let program = Program::start(CONFIG);
    program.get("/v1/check/api/k");
    let page = program.until("/metrics", |_| true);
    common::program::promtool_finds_nothing(&page);
}
