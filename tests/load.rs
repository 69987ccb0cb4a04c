//! What the load generator promises, against a server in this process, servers that misbehave, and as
//! a program.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::ports::free_port;
use openclaw_rating::api::{CoreService, ServiceParts};
use openclaw_rating::bucket::gcra::Rate;
use openclaw_rating::bucket::hash::KeyHasher;
use openclaw_rating::bucket::policy::{LimitSpec, Mode, PolicySet, PolicySpec};
use openclaw_rating::bucket::sharing::Sharing;
use openclaw_rating::bucket::table::{BucketTable, OnTableFull, TableConfig};
use openclaw_rating::data_plane::{DataPlane, DataPlaneConfig, ListenAddr};
use openclaw_rating::health::Health;
use openclaw_rating::http::HttpLimits;
use openclaw_rating::load::{self, Ended, ErrorKind, LoadError, Plan, Settings, Summary, Target};
use openclaw_rating::metrics::core::CoreMetrics;
use openclaw_rating::metrics::latency::histogram_exchange;
use openclaw_rating::time::{Clock, SystemClock};

/// Tokens that a key has; none come back while a test runs.
const BURST: u64 = 10;

/// A real server.
struct Server {
    plane: DataPlane,
    requests: Arc<CoreMetrics>,
}

impl Server {
    fn start(listen: &str, requests_per_connection: u64) -> Self {
        let clock = SystemClock::start();
        let limit = LimitSpec { rate: Rate::new(1, 86_400_000_000_000).unwrap(), burst: BURST };
        let (name, metadata) = ("default".to_owned(), BTreeMap::new());
        let policy = PolicySpec {
            name,
            limit,
            overrides: vec![],
            mode: Mode::Enforce,
            sharing: Sharing::default(),
            metadata,
        };
        let policies = Arc::new(PolicySet::new(&[policy], &KeyHasher::new([1; 16]), clock.now()).unwrap());
        let table = BucketTable::new(TableConfig { lines: 1 << 14, on_full: OnTableFull::Deny }).unwrap();
        table.publish_limits(&policies);
        let (table, health) = (Arc::new(table), Arc::new(Health::default()));
        let patience = Duration::from_secs(60);
        let address = match listen.strip_prefix("unix:") {
            Some(path) => ListenAddr::Unix(path.into()),
            None => ListenAddr::Tcp(listen.parse().unwrap()),
        };
        let config = DataPlaneConfig {
            listen: vec![address],
            threads: 1,
            pin: false,
            max_connections: 1000,
            backlog: 1024,
            idle_timeout: patience,
            header_timeout: patience,
            body_timeout: patience,
            write_timeout: patience,
        };
        let requests = Arc::new(CoreMetrics::new());
        let limits =
            HttpLimits { max_requests_per_connection: requests_per_connection, ..Default::default() };
        let plane = DataPlane::start(&config, clock, |_| {
            CoreService::new(ServiceParts {
                table: Arc::clone(&table),
                log: None,
                policies: Arc::clone(&policies),
                limits,
                metrics: Arc::clone(&requests),
                histograms: histogram_exchange().0,
                health: Arc::clone(&health),
                region: "test".to_owned(),
                version: "test",
            })
        });
        Self { plane: plane.unwrap(), requests }
    }

    fn on_tcp() -> Self {
        Self::start("127.0.0.1:0", 0)
    }

    fn target(&self) -> Target {
        match self.plane.addresses().next().unwrap() {
            ListenAddr::Tcp(address) => format!("http://{address}").parse().unwrap(),
            ListenAddr::Unix(path) => Target::Unix(path.clone()),
        }
    }
}

/// A run of at most 400 requests.
fn settings(target: Target) -> Settings {
    Settings {
        target,
        connections: 8,
        requests: Some(400),
        duration: None,
        keys: 10,
        timeout: Duration::from_secs(5),
        attempts: 2,
        ..Settings::default()
    }
}

fn run(settings: Settings) -> Result<Summary, LoadError> {
    load::run(&Plan::new(settings).unwrap(), &AtomicBool::new(false), |_| {})
}

fn assert_all_answered(summary: &Summary, requests: u64) {
    let record = &summary.record;
    assert!(summary.is_clean(), "{:?}", record.first_error());
    assert_eq!((record.sent, record.answers(), summary.ended), (requests, requests, Ended::Completed));
    assert_eq!(record.allowed() + record.denied(), requests);
    assert!(record.bytes_sent > 60 * requests && record.bytes_received > 100 * requests);
}

#[test]
fn a_closed_loop_asks_for_exactly_the_keys_and_requests_it_was_told() {
    let server = Server::on_tcp();
    let summary = run(settings(server.target())).unwrap();
    assert_all_answered(&summary, 400);
    // 10 keys have 10 tokens each, and each key is asked for more often than that.
    assert_eq!((summary.record.allowed(), summary.record.denied()), (100, 300));
    assert_eq!(summary.record.connected, 8);
}

#[test]
fn pipelined_requests_on_several_threads_are_all_answered() {
    let server = Server::on_tcp();
    let settings =
        Settings { pipeline: 300, threads: 3, requests: Some(20_001), ..settings(server.target()) };
    let summary = run(settings).unwrap();
    assert_all_answered(&summary, 20_001);
    assert_eq!(summary.record.allowed(), 100);
}

#[test]
fn a_unix_socket_is_asked_like_a_port() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&format!("unix:{}/check.sock", directory.path().display()), 0);
    assert_all_answered(&run(settings(server.target())).unwrap(), 400);
}

#[test]
fn an_open_loop_keeps_its_rate_and_its_time() {
    let server = Server::on_tcp();
    let duration = Some(Duration::from_millis(500));
    let rate =
        Settings { rate: Some(2000), requests: None, duration, threads: 2, ..settings(server.target()) };
    let began = Instant::now();
    let summary = run(rate).unwrap();
    assert!(summary.is_clean());
    // Requests due at the very end may be cut off by it, on a busy machine some more.
    assert_eq!(summary.record.answers() + summary.unsent, 1000);
    assert!(summary.unsent < 500, "{}", summary.unsent);
    assert!(summary.elapsed >= Duration::from_millis(500) && began.elapsed() >= summary.elapsed);
}

#[test]
fn a_cost_above_the_burst_is_reported_as_an_unexpected_status() {
    let server = Server::on_tcp();
    let summary = run(Settings { cost: BURST + 1, ..settings(server.target()) }).unwrap();
    assert!(!summary.is_clean());
    assert_eq!(summary.record.statuses(), BTreeMap::from([(400, 400)]));
    assert_eq!(summary.error_ratio(), 1.0);
}

#[test]
fn connections_that_the_server_ends_in_order_are_made_again() {
    let server = Server::start("127.0.0.1:0", 7);
    let summary = run(settings(server.target())).unwrap();
    assert_all_answered(&summary, 400);
    assert!((50..=70).contains(&summary.record.connected), "{}", summary.record.connected);
}

#[test]
fn progress_is_told_and_a_stop_ends_early_with_a_summary() {
    let server = Server::on_tcp();
    let hours = Settings {
        requests: None,
        duration: Some(Duration::from_secs(3600)),
        rate: Some(1000),
        ..settings(server.target())
    };
    let (stop, told) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let summary = load::run(&Plan::new(hours).unwrap(), &stop, |progress| {
        told.fetch_add(1, Ordering::Relaxed);
        stop.store(progress.total.answers() > 0, Ordering::Relaxed);
    });
    let summary = summary.unwrap();
    assert_eq!((summary.ended, summary.is_clean()), (Ended::Stopped, true));
    assert!(told.into_inner() >= 1 && began.elapsed() < Duration::from_secs(30));
    assert!(summary.record.answers() >= 100);
}

#[test]
fn a_server_that_dies_midway_is_reported_and_given_up() {
    let mut server = Server::on_tcp();
    let endless =
        Settings { requests: None, duration: Some(Duration::from_secs(3600)), ..settings(server.target()) };
    let requests = Arc::clone(&server.requests);
    let killer = std::thread::spawn(move || {
        while requests.bytes_received() < 100_000 {
            std::thread::yield_now();
        }
        server.plane.shutdown(Duration::ZERO);
    });
    let summary = run(endless).unwrap();
    killer.join().unwrap();
    assert_eq!((summary.ended, summary.is_clean()), (Ended::GaveUp, false));
    assert!(summary.record.answers() > 100);
    // Two failures in a row give each of 8 connections up; the last of them could not be made.
    assert!(summary.record.errors_of(ErrorKind::Connect) >= 8);
    assert!(summary.elapsed < Duration::from_secs(60));
}

#[test]
fn where_nothing_listens_there_is_one_clear_error() {
    let unused = format!("127.0.0.1:{}", free_port());
    let error = run(settings(format!("http://{unused}").parse().unwrap())).unwrap_err().to_string();
    assert!(error.contains(&unused) && error.contains("is the server running?"), "{error}");
    let error = run(settings("unix:/nonexistent/check.sock".parse().unwrap())).unwrap_err().to_string();
    assert!(error.contains("there is no such socket"), "{error}");
    let error = run(settings("http://name.invalid:1".parse().unwrap())).unwrap_err().to_string();
    assert!(error.contains("cannot find an address of http://name.invalid:1"), "{error}");
}

#[test]
fn a_stop_is_noticed_while_nothing_answers_the_first_attempt_to_connect() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    // It fits the queue of the listener; the kernel does not answer who comes next.
    let _first = TcpStream::connect(address).unwrap();
    let patient = Settings {
        timeout: Duration::from_secs(600),
        ..settings(format!("http://{address}").parse().unwrap())
    };
    let began = Instant::now();
    let stopped = load::run(&Plan::new(patient).unwrap(), &AtomicBool::new(true), |_| {});
    assert!(matches!(stopped, Err(LoadError::Stopped)), "{stopped:?}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// A server that treats every connection in its own way, until the test process ends.
fn misbehave(how: impl Fn(TcpStream) + Send + Sync + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let how = Arc::new(how);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let how = Arc::clone(&how);
            std::thread::spawn(move || how(stream));
        }
    });
    target
}

/// Waits for a request's end; whether there was one.
fn read_request(stream: &mut TcpStream) -> bool {
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(bytes) if bytes > 0 => seen.extend_from_slice(&buffer[..bytes]),
            _ => return false,
        }
    }
    true
}

fn assert_given_up(summary: &Summary, kind: ErrorKind, why: &str) {
    let record = &summary.record;
    assert_eq!((record.answers(), summary.ended), (0, Ended::GaveUp));
    assert_eq!(record.errors_of(kind), 16, "8 connections fail twice");
    assert_eq!(record.errors(), 16);
    assert!(record.first_error().unwrap().contains(why), "{:?}", record.first_error());
}

#[test]
fn a_server_that_answers_garbage_is_given_up_with_the_reason() {
    for (answer, why) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1.1"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
        ("HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
    ] {
        let target = misbehave(move |mut stream| {
            while read_request(&mut stream) {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_given_up(&run(settings(target)).unwrap(), ErrorKind::Protocol, why);
    }
}

#[test]
fn a_server_that_hangs_up_is_given_up() {
    let target = misbehave(|mut stream| {
        read_request(&mut stream);
    });
    assert_given_up(&run(settings(target)).unwrap(), ErrorKind::Closed, "ended a connection before");
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_no_longer_than_the_timeout() {
    let target = misbehave(|mut stream| while read_request(&mut stream) {});
    let impatient = Settings { timeout: Duration::from_millis(100), ..settings(target) };
    let began = Instant::now();
    assert_given_up(&run(impatient).unwrap(), ErrorKind::Timeout, "no answer came within 100ms");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_stall_of_the_server_shows_in_the_latencies_of_an_open_loop() {
    let stalled = AtomicBool::new(false);
    let target = misbehave(move |mut stream| {
        while read_request(&mut stream) {
            if !stalled.swap(true, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(300));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let one = Settings { connections: 1, rate: Some(1000), requests: Some(400), ..settings(target) };
    let summary = run(one).unwrap();
    assert!(summary.is_clean());
    // One answer took long, but some 300 requests were due meanwhile.
    assert!(summary.latency(0.4) > Duration::from_millis(50), "{:?}", summary.latency(0.4));
    assert!(summary.latency(1.0) >= Duration::from_millis(300));
}

/// The program, without the settings of whoever runs the tests.
fn program(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-rating"));
    command.env_clear().arg("load").args(arguments).output().unwrap()
}

#[test]
fn the_program_reports_in_words_and_in_json() {
    let server = Server::on_tcp();
    let target = server.target().to_string();
    let table = program(&[&target, "-c", "4", "-n", "100", "--distribution", "zipf:1.1"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(table.status.success() && table.stderr.is_empty());
    assert!(text.contains("answers   100 in") && text.contains("errors    none"), "{text}");
    let wrong = program(&[&target, "-c", "1", "-n", "3", "--policy", "unknown"]);
    let text = String::from_utf8(wrong.stdout).unwrap();
    assert!(text.contains("3 status 404; the first: status 404: ") && text.contains("unknown"), "{text}");
    let wrong = program(&[&target, "-c", "1", "-n", "3", "--cost", "11", "--json"]);
    let value: serde_json::Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert!(value["first_error"].as_str().unwrap().contains("11"), "{value}");
    let json = program(&[&target, "-d", "1100ms", "-r", "500", "--json", "--progress"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((value["ended"].as_str(), value["mode"].as_str()), (Some("completed"), Some("open")));
    assert_eq!(value["answered"].as_u64().unwrap() + value["unsent"].as_u64().unwrap(), 550);
    assert!(String::from_utf8(json.stderr).unwrap().contains("p99"), "a line of progress");
}

#[test]
fn the_programs_exit_code_says_whether_all_went_well() {
    let server = Server::on_tcp();
    let target = server.target().to_string();
    let code = |arguments: &[&str]| program(arguments).status.code();
    assert_eq!(code(&[&target, "-n", "10"]), Some(0));
    assert_eq!(code(&[&target, "-n", "10", "--policy", "unknown"]), Some(1), "answers are 404");
    assert_eq!(code(&["unix:/nonexistent/check.sock"]), Some(1));
    assert_eq!(code(&[&target, "--connections", "0"]), Some(2));
    assert_eq!(code(&["https://127.0.0.1"]), Some(2));
    let long = format!("unix:/{}", "x".repeat(107));
    let told = program(&[&long]).stderr;
    assert!(String::from_utf8_lossy(&told).contains("108 bytes; the most is 107"));
    for setting in [["--config", "a.toml"], ["--set", "server.threads=1"]] {
        let refused = program(&setting);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && told.contains("reads no configuration"), "{told}");
    }
}
