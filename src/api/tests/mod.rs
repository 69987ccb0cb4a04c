//! What a client is promised, in memory: bytes in, bytes out, with a real table and injected time.
#![allow(clippy::unwrap_used)]

mod batches;
mod checks;
mod connections;
mod pages;

use std::sync::Arc;

use super::{CoreService, ServiceParts};
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{LimitSpec, Matcher, Mode, OverrideSpec, PolicySet, PolicySpec};
use crate::bucket::table::{BucketTable, OnTableFull, TableConfig};
use crate::data_plane::{Next, Service};
use crate::health::Health;
use crate::http::{ConnectionState, HttpLimits};
use crate::metrics::core::CoreMetrics;
use crate::metrics::latency::histogram_exchange;
use crate::time::{MonotonicNs, NS_PER_SECOND as SECOND};

const ROOM: usize = 64 * 1024;

struct Server {
    service: CoreService,
    health: Arc<Health>,
    metrics: Arc<CoreMetrics>,
    now: MonotonicNs,
}

fn spec(name: &str, burst: u64, mode: Mode) -> PolicySpec {
    let limit = |burst| LimitSpec::per_second(1, burst).unwrap();
    let vip = OverrideSpec { matcher: Matcher::Exact(b"vip".to_vec()), limit: limit(burst * 10) };
    PolicySpec { overrides: vec![vip], mode, ..PolicySpec::new(name, limit(burst)) }
}

impl Server {
    fn new() -> Self {
        Self::with_limits(HttpLimits {
            max_header_bytes: 1024,
            max_target_bytes: 300,
            ..HttpLimits::default()
        })
    }

    fn with_limits(limits: HttpLimits) -> Self {
        let specs = [
            spec("p", 5, Mode::Enforce),
            spec("one", 1, Mode::Enforce),
            spec("watch", 1, Mode::Shadow),
            spec("off", 1, Mode::AllowAll),
            spec("stop", 1, Mode::DenyAll),
        ];
        let policies = Arc::new(PolicySet::new(&specs, &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap());
        let table = BucketTable::new(TableConfig { lines: 1024, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(CoreMetrics::new()));
        let mut service = CoreService::new(ServiceParts {
            table: Arc::new(table),
            log: None,
            policies,
            limits,
            metrics: Arc::clone(&metrics),
            histograms: histogram_exchange().0,
            health: Arc::clone(&health),
            region: "eu\"1".to_owned(),
            version: "1.2.3",
        });
        service.set_wall_clock(784_111_777);
        Self { service, health, metrics, now: MonotonicNs(SECOND) }
    }

    /// Feeds pieces as a data thread does; what was written, and whether the connection ended.
    fn feed<'i>(&mut self, pieces: impl IntoIterator<Item = &'i [u8]>) -> (String, bool) {
        let mut connection = ConnectionState::default();
        let (mut kept, mut written) = (Vec::new(), Vec::new());
        let mut output = vec![0; ROOM];
        for piece in pieces {
            kept.extend_from_slice(piece);
            loop {
                let step = self.service.step(&mut connection, &kept, &mut output, self.now);
                kept.drain(..step.consumed);
                written.extend_from_slice(&output[..step.written]);
                match step.next {
                    Next::NeedInput => break,
                    Next::NeedOutputSpace => assert!(step.written > 0),
                    Next::Close => return (String::from_utf8(written).unwrap(), true),
                    Next::AwaitMetrics => {
                        let page = b"a_metric 1\n";
                        let (head, last) =
                            self.service.finish_metrics(&mut connection, page.len(), &mut output);
                        written.extend_from_slice(&output[..head]);
                        written.extend_from_slice(page);
                        if last {
                            return (String::from_utf8(written).unwrap(), true);
                        }
                    }
                }
            }
        }
        (String::from_utf8(written).unwrap(), false)
    }

    fn ask(&mut self, request: &str) -> (String, bool) {
        self.feed([request.as_bytes()])
    }

    fn get(&mut self, target: &str) -> String {
        let (answer, closed) = self.ask(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!closed, "{target}: {answer}");
        answer
    }

    fn post(&mut self, body: &str) -> String {
        self.post_to("/v1/check", body)
    }

    fn post_to(&mut self, target: &str, body: &str) -> String {
        let length = body.len();
        self.ask(&format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}")).0
    }
}

/// Status lines of a stream of answers, whose lengths must add up.
fn statuses(mut answers: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !answers.is_empty() {
        let end = answers.find("\r\n\r\n").expect("a head ends") + 4;
        let head = &answers[..end];
        let status: u16 = head[9..12].parse().unwrap();
        let length =
            head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        statuses.push(status);
        answers = &answers[end + length..];
    }
    statuses
}
