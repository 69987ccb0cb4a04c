//! Prometheus' HTTP API: the real one over a page that the test serves, and a stand-in for what goes wrong.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use openclaw_rating::agent::history::{Measure, Prometheus, Queries, Series};
use openclaw_rating::agent::types::UnixMs;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::fake::{Answer, Asked, Fake, Fault, json as answer, status, text, too_many};
use crate::common::ports::free_port;
use crate::common::support::{assert_says, client, is_there, secret, until};

const FROM: UnixMs = UnixMs(1_764_053_000_123);

/// One minute by steps of 15 s.
fn range(prometheus: &Prometheus) -> Result<Vec<Series>, String> {
    prometheus.range(FROM, FROM.after_ms(60_000)).map_err(|error| error.to_string())
}

fn reader(fake: &Fake, directory: &TempDir) -> Prometheus {
    let token = Some(secret(directory, "token", "good"));
    let queries = Queries { selector: r#"job="a b""#.to_owned(), ..Queries::default() };
    Prometheus { client: client(), base: fake.base(), token, queries }
}

fn parameters(asked: &Asked) -> BTreeMap<String, String> {
    let (path, query) = asked.target.split_once('?').unwrap();
    assert_eq!((asked.method.as_str(), path, asked.body.as_str()), ("GET", "/api/v1/query_range", ""));
    assert_eq!(asked.header("authorization"), "Bearer good");
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Answers as the API's description has it, with these rows for every query that is not by key.
fn api(rows: Value) -> impl FnMut(&Asked) -> Answer {
    move |asked| {
        let mut parameters = parameters(asked);
        let query = parameters.remove("query").unwrap();
        assert!(query.contains("job%3D%22a%20b%22") && !query.contains(['{', '"', ' ']), "{query}");
        let times = [("end", "1764053060.123"), ("start", "1764053000.123"), ("step", "15.000")];
        assert_eq!(parameters, times.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let is_by_key = query.starts_with("min%20by");
        let empty = json!([]);
        let result = if is_by_key { &empty } else { &rows };
        answer(200, &json!({"status": "success", "data": {"resultType": "matrix", "result": result}}))
    }
}

fn values(series: &Series) -> Vec<Option<f64>> {
    series.points.iter().map(|point| point.value).collect()
}

#[test]
fn missing_times_and_values_that_are_no_numbers_are_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let rows = json!([{"metric": {}, "values": [
        [1_764_053_000.123, "1.5"], [1_764_053_030.123, "NaN"],
        [1_764_053_045.123, "+Inf"], [1_764_053_060.123, "0"]
    ]}]);
    let fake = Fake::start(api(rows));
    let all = range(&reader(&fake, &directory)).unwrap();
    assert_eq!(all.len(), 6);
    for series in all {
        assert_eq!(values(&series), [Some(1.5), None, None, None, Some(0.0)]);
        assert_eq!((series.step_ms, series.points[4].at), (15_000, FROM.after_ms(60_000)));
    }
    assert_eq!(fake.asked().len(), 7);
}

#[test]
fn nothing_known_is_no_series() {
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::start(api(json!([])));
    assert_eq!(range(&reader(&fake, &directory)), Ok(vec![]));
    let fake = Fake::start(api(json!([{"metric": {}, "values": [[1_764_053_000.123, "NaN"]]}])));
    assert_eq!(range(&reader(&fake, &directory)), Ok(vec![]));
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let bad_query = json!({"status": "error", "errorType": "bad_data", "error": "parse error at char 9"});
    let fake = Fake::start(api(json!([])));
    for (fault, parts) in [
        (Fault::Answer(answer(400, &bad_query)), &["Prometheus", "parse error at char 9"][..]),
        (Fault::Answer(answer(200, &bad_query)), &["not a successful matrix"]),
        (status(401), &["renew the bearer token"]),
        (status(404), &["[agent] section"]),
        (Fault::Garble("<html>"), &["base URL"]),
        (Fault::Answer(text(200, "{}")), &["cannot be understood"]),
    ] {
        fake.inject([fault]);
        assert_says(&range(&reader(&fake, &directory)).unwrap_err(), parts);
    }
    // A read is harmless, so it is repeated.
    fake.inject([status(503), too_many(0), Fault::Pass]);
    assert_eq!(range(&reader(&fake, &directory)), Ok(vec![]));
}

#[test]
fn an_answer_that_does_not_fit_the_question_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let row = |values: Value| json!({"metric": {}, "values": values});
    for (rows, part) in [
        (json!([row(json!([[1_764_053_007.0, "1"]]))]), "a time is not one"),
        (json!([row(json!([[1_764_053_075.123, "1"]]))]), "a time is not one"),
        (json!([row(json!([[1_764_053_000.123, "many"]]))]), "no number"),
        (json!([row(json!([])), row(json!([]))]), "more than one series"),
    ] {
        let fake = Fake::start(api(rows));
        assert_says(&range(&reader(&fake, &directory)).unwrap_err(), &[part]);
    }
    let missing = Prometheus {
        token: Some(openclaw_rating::agent::secret::SecretSource::File("/nonexistent".into())),
        ..reader(&Fake::start(api(json!([]))), &directory)
    };
    assert_says(&range(&missing).unwrap_err(), &["/nonexistent"]);
}

struct Running {
    child: Child,
    address: String,
    _directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start_prometheus(target: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - job_name: edge\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    let path = directory.path().join("prometheus.yml");
    std::fs::write(&path, config).unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--log.level=error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Running { child, address, _directory: directory }
}

/// A metrics page of the server's form, whose counters grow by each look at it.
fn page(looks: u64) -> String {
    format!(
        "openclaw_checks_total{{policy=\"api\",result=\"allowed\"}} {}\n\
         openclaw_checks_total{{policy=\"api\",result=\"denied\"}} {}\n\
         openclaw_request_errors_total{{reason=\"bad_key\"}} {}\n\
         openclaw_request_duration_seconds_bucket{{le=\"0.001\"}} {}\n\
         openclaw_request_duration_seconds_bucket{{le=\"+Inf\"}} {}\n\
         openclaw_token_bucket_available{{region=\"eu\",policy=\"api\",key=\"a\"}} 25\n\
         openclaw_token_bucket_capacity{{region=\"eu\",policy=\"api\",key=\"a\"}} 100\n\
         openclaw_token_bucket_available{{region=\"eu\",policy=\"api\",key=\"b\"}} 90\n\
         openclaw_token_bucket_capacity{{region=\"eu\",policy=\"api\",key=\"b\"}} 100\n\
         openclaw_peer_lag_seconds{{peer=\"us\"}} 0.25\n",
        300 * looks,
        100 * looks,
        looks,
        400 * looks,
        400 * looks,
    )
}

#[test]
fn a_real_prometheus_gives_every_measure() {
    if !is_there("prometheus") {
        return;
    }
    let mut looks = 0;
    let server = Fake::start(move |asked| {
        assert_eq!(asked.line(), "GET /metrics");
        looks += 1;
        text(200, &page(looks))
    });
    let running = start_prometheus(&server.address.to_string());
    let queries = Queries { selector: r#"job="edge""#.to_owned(), scrape_interval: Duration::from_secs(1) };
    let base = openclaw_rating::agent::https::BaseUrl::new(&format!("http://{}", running.address)).unwrap();
    let prometheus = Prometheus { client: client(), base, token: None, queries };
    let mut all = Vec::new();
    until("every measure", || {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = UnixMs(u64::try_from(since_1970.as_millis()).unwrap());
        all = prometheus.range(UnixMs(now.0 - 30_000), now).unwrap_or_default();
        let counted = all.iter().filter(|series| series.has_values()).count();
        std::thread::sleep(Duration::from_millis(200));
        counted == 8
    });
    let latest = |measure: Measure| {
        let series = all.iter().find(|series| series.measure == measure).unwrap();
        values(series).into_iter().flatten().next_back().unwrap()
    };
    let key = |key: &str| Measure::AvailableOf { key: key.to_owned() };
    assert_eq!((latest(Measure::Available), latest(key("api/a")), latest(key("api/b"))), (0.25, 0.25, 0.9));
    assert_eq!(latest(Measure::ReplicationLag), 250.0);
    assert!((0.0..=1000.0).contains(&latest(Measure::P99)));
    let (checks, denials) = (latest(Measure::Checks), latest(Measure::Denials));
    assert!(checks > 100.0 && (checks / denials - 4.0).abs() < 0.01, "{checks} {denials}");
    assert!(latest(Measure::Errors) > 0.0);
    assert!(all.iter().all(|series| values(series)[0].is_none()), "before it ran there is a gap");
}
