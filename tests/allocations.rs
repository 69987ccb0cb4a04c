//! After start-up a data thread allocates nothing: shown by an allocator that counts.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openclaw_rating::api::{CoreService, ServiceParts};
use openclaw_rating::bucket::gcra::Rate;
use openclaw_rating::bucket::hash::KeyHasher;
use openclaw_rating::bucket::policy::{LimitSpec, Mode, PolicySet, PolicySpec};
use openclaw_rating::bucket::sharing::Sharing;
use openclaw_rating::bucket::table::{BucketTable, OnTableFull, TableConfig};
use openclaw_rating::data_plane::{DataPlane, DataPlaneConfig, ListenAddr};
use openclaw_rating::health::Health;
use openclaw_rating::http::HttpLimits;
use openclaw_rating::metrics::core::CoreMetrics;
use openclaw_rating::metrics::latency::histogram_exchange;
use openclaw_rating::time::{Clock, SystemClock};

/// Counts what threads allocate that do not say they are tests.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: all calls go to the system's allocator as they are.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_TEST.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn policies(now: openclaw_rating::time::MonotonicNs) -> Arc<PolicySet> {
    let limit = LimitSpec { rate: Rate::new(100, 1_000_000_000).unwrap(), burst: 10 };
    let spec = PolicySpec {
        name: "p".to_owned(),
        limit,
        overrides: vec![],
        mode: Mode::Enforce,
        sharing: Sharing::default(),
        metadata: BTreeMap::new(),
    };
    Arc::new(PolicySet::new(&[spec], &KeyHasher::new([1; 16]), now).unwrap())
}

fn start() -> DataPlane {
    let clock = SystemClock::start();
    let policies = policies(clock.now());
    let table = BucketTable::new(TableConfig { lines: 1 << 14, on_full: OnTableFull::Allow }).unwrap();
    table.publish_limits(&policies);
    let (table, health) = (Arc::new(table), Arc::new(Health::default()));
    let config = DataPlaneConfig {
        listen: vec![ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())],
        threads: 1,
        pin: false,
        max_connections: 100,
        backlog: 128,
        idle_timeout: Duration::from_secs(60),
        header_timeout: Duration::from_secs(60),
        body_timeout: Duration::from_secs(60),
        write_timeout: Duration::from_secs(60),
    };
    DataPlane::start(&config, clock, |_| {
        CoreService::new(ServiceParts {
            table: Arc::clone(&table),
            log: None,
            policies: Arc::clone(&policies),
            limits: HttpLimits::default(),
            metrics: Arc::new(CoreMetrics::new()),
            histograms: histogram_exchange().0,
            health: Arc::clone(&health),
            region: "test".to_owned(),
            version: "test",
        })
    })
    .unwrap()
}

/// Batches that pass, with escapes too, and such as are wrong in each way there is.
const BATCHES: [&str; 9] = [
    r#"{"checks":[{"policy":"p","key":"a"},{"policy":"p","key":"b","cost":2}]}"#,
    r#"{"ch\u0065cks":[{"p\u006flicy":"\u0070","key":"a\u0062\ud83d\ude00\n"}]}"#,
    r#"{"checks":[{"policy":"p","key":"a","extra":1}]}"#,
    r#"{"checks":[{"policy":"p","key":"\ud83d"}]}"#,
    r#"{"checks":[{"policy":"p","key":"a","cost":1.5}]}"#,
    r#"{"checks":["#,
    r#"{"checks":[{"policy":"p","key":"a"},{"policy":"none","key":"a"}]}"#,
    r#"{"checks":[{"policy":"p","key":""}]}"#,
    r#"{"checks":[{"policy":"p","key":"a","cost":6},{"policy":"p","key":"a","cost":5}]}"#,
];

/// Requests that end their connection.
const REFUSED: [&str; 8] = [
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "\x16\x03\x01",
    "POST /v1/check HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST /v1/check HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx",
    "POST /v1/check HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n",
    "POST /v1/check HTTP/1.1\r\nHost: h\r\nExpect: a miracle\r\n\r\n",
    "GET /health HTTP/1.0\r\n\r\n",
];

/// Connections that come and go, single and pipelined checks, keys new and known, allowed and denied,
/// requests in pieces, batches in both framings, errors of the client of every kind, health.
fn mixed_load(plane: &DataPlane, rounds: usize) {
    let Some(ListenAddr::Tcp(address)) = plane.addresses().next() else { panic!("listens on TCP") };
    for round in 0..rounds {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut requests = String::new();
        for key in 0..50 {
            requests += &format!("GET /v1/check/p/k{} HTTP/1.1\r\nHost: h\r\n\r\n", key % 7 + round);
        }
        for batch in BATCHES {
            let length = batch.len();
            requests += "POST /v1/check HTTP/1.1\r\nHost: h\r\n";
            requests += &format!("Content-Length: {length}\r\n\r\n{batch}");
            requests += "POST /v1/check HTTP/1.1\r\nHost: h\r\n";
            requests += &format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{batch}\r\n0\r\n\r\n");
        }
        for wrong in ["GET /v1/check/none/k", "GET /v1/check/p/k?cost=11", "PUT /v1/check/p/k", "GET /none"] {
            requests += &format!("{wrong} HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        requests += "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let (first, rest) = requests.as_bytes().split_at(requests.len() * (round % 10) / 10);
        stream.write_all(first).unwrap();
        if round % 10 == 3 {
            std::thread::sleep(Duration::from_millis(5));
        }
        stream.write_all(rest).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        assert!(answers.ends_with(b"\"warnings\":[]}"));
        let mut refused = TcpStream::connect(address).unwrap();
        refused.write_all(REFUSED[round % REFUSED.len()].as_bytes()).unwrap();
        answers.clear();
        refused.read_to_end(&mut answers).unwrap();
        assert!(answers.starts_with(b"HTTP/1.1 "));
    }
}

#[test]
fn a_data_thread_that_has_started_allocates_nothing() {
    IS_TEST.set(true);
    let plane = start();
    mixed_load(&plane, 20);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "the allocator counts");
    mixed_load(&plane, 1000);
    // Long enough for a sweep of time-outs and a new date.
    std::thread::sleep(Duration::from_millis(1200));
    mixed_load(&plane, 20);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
