//! What a client is promised, in memory: bytes in, bytes out, with a real table and injected time.
#![allow(clippy::unwrap_used)]

mod batches;

use std::sync::Arc;

use proptest::prelude::*;

use super::{CoreService, ServiceParts};
use crate::bucket::gcra::Rate;
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{LimitSpec, Matcher, Mode, OverrideSpec, PolicySet, PolicySpec};
use crate::bucket::table::{BucketTable, OnTableFull, TableConfig};
use crate::data_plane::{Next, Refusal, Service};
use crate::health::{Health, Reason};
use crate::http::{ConnectionState, HttpLimits};
use crate::metrics::core::{CheckResult, CoreMetrics, ParseErrorKind, histogram_exchange};
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
        let policies = Arc::new(PolicySet::new(&specs, MonotonicNs(0)).unwrap());
        let table = BucketTable::new(TableConfig { lines: 1024, on_full: OnTableFull::Allow }).unwrap();
        table.publish_limits(&policies);
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(CoreMetrics::new()));
        let mut service = CoreService::new(ServiceParts {
            table: Arc::new(table),
            policies,
            hasher: KeyHasher::new([1; 16]),
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

#[test]
fn a_request_line_that_goes_on_behind_the_version_is_called_wrong_and_not_its_end() {
    for (line, text) in [
        ("GET / HTTP/1.1 \r\n", "the request line is not"),
        ("GET / HTTP/1.11\r\n", "the request line is not"),
        ("GET / HTTP/1.1\r\r\n", "every line must end in CR LF"),
        ("GET / HTTP/1.1\n", "every line must end in CR LF"),
    ] {
        let (answer, closed) = Server::new().ask(&format!("{line}Host: h\r\n\r\n"));
        assert!(closed && answer.contains(text), "{line:?}: {answer}");
    }
}

#[test]
fn a_client_that_speaks_another_protocol_is_told_by_its_first_byte() {
    for hello in ["\x16\x03\x01\x02", "\0", " ", "\u{80}"] {
        for stream in [hello.to_owned(), format!("GET /health HTTP/1.1\r\nHost: h\r\n\r\n\r\n{hello}")] {
            let (answer, closed) = Server::new().ask(&stream);
            assert_eq!((statuses(&answer).pop(), closed), (Some(400), true), "{stream:?}");
        }
    }
}

#[test]
fn a_check_is_answered_in_full() {
    let mut server = Server::new();
    assert_eq!(
        server.get("/v1/check/p/k?cost=2"),
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
         Cache-Control: no-store\r\n\
         RateLimit-Policy: \"p\";q=5;w=5\r\nRateLimit: \"p\";r=3;t=3\r\nContent-Length: 88\r\n\r\n\
         {\"allowed\":true,\"policy\":\"p\",\"limit\":5,\"remaining\":3,\"reset_ms\":2000,\
         \"retry_after_ms\":0}"
    );
    assert_eq!(
        server.get("/v1/check/p/k?cost=4"),
        "HTTP/1.1 429 Too Many Requests\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/json\r\nCache-Control: no-store\r\n\
         RateLimit-Policy: \"p\";q=5;w=5\r\nRateLimit: \"p\";r=3;t=1\r\nRetry-After: 1\r\n\
         Content-Length: 92\r\n\r\n\
         {\"allowed\":false,\"policy\":\"p\",\"limit\":5,\"remaining\":3,\"reset_ms\":2000,\
         \"retry_after_ms\":1000}"
    );
    server.now = MonotonicNs(2 * SECOND);
    assert!(server.get("/v1/check/p/k?cost=4").starts_with("HTTP/1.1 200"));
    assert_eq!(server.metrics.checks(0, CheckResult::Allowed), 2);
    assert_eq!(server.metrics.checks(0, CheckResult::Denied), 1);
}

#[test]
fn what_is_left_over_the_seconds_it_is_told_for_is_never_above_the_rate() {
    let mut server = Server::new();
    let fields = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("RateLimit: ")).unwrap().to_owned();
        line.split_once("\";").unwrap().1.to_owned()
    };
    for (query, told) in
        [("cost=0", "r=5;t=5"), ("cost=4", "r=1;t=1"), ("cost=1", "r=0;t=1"), ("cost=5", "r=0;t=5")]
    {
        assert_eq!(fields(&server.get(&format!("/v1/check/p/k?{query}"))), told, "{query}");
    }
}

#[test]
fn a_peek_costs_nothing() {
    let mut server = Server::new();
    for _ in 0..10 {
        assert!(server.get("/v1/check/p/k?cost=0").contains("\"remaining\":5"));
    }
}

#[test]
fn no_answer_is_one_that_a_cache_may_give_again() {
    let mut server = Server::new();
    for target in ["/v1/check/p/k", "/v1/check/one/k?cost=0", "/v1/check/unknown/k", "/health", "/metrics"] {
        let answer = server.get(target);
        assert_eq!(answer.matches("\r\nCache-Control: no-store\r\n").count(), 1, "{answer}");
    }
}

#[test]
fn a_proxy_can_choose_the_status_of_a_denial() {
    let mut server = Server::new();
    server.get("/v1/check/one/k");
    for (query, status) in
        [("", 429), ("?deny_status=401", 401), ("?deny_status=403", 403), ("?deny_status=429", 429)]
    {
        let answer = server.get(&format!("/v1/check/one/k{query}"));
        assert_eq!(statuses(&answer), [status]);
        assert!(answer.contains("\r\nRetry-After: 1\r\n"));
    }
}

#[test]
fn overrides_shadows_and_kill_switches_do_what_they_say() {
    let mut server = Server::new();
    assert!(
        server
            .get("/v1/check/p/vip")
            .contains("RateLimit-Policy: \"p\";q=50;w=50\r\nRateLimit: \"p\";r=49;t=49\r\n")
    );
    server.get("/v1/check/watch/k");
    let watched = server.get("/v1/check/watch/k");
    assert!(watched.starts_with("HTTP/1.1 200") && watched.contains("\"shadow_denied\":true"), "{watched}");
    assert_eq!(statuses(&watched), [200]);
    for _ in 0..5 {
        assert!(server.get("/v1/check/off/k").contains("\"allowed\":true"));
        assert_eq!(statuses(&server.get("/v1/check/stop/k")), [429]);
    }
    assert_eq!(server.metrics.checks(2, CheckResult::ShadowDenied), 1);
}

#[test]
fn names_are_decoded_before_they_are_used() {
    let mut server = Server::new();
    for (target, remaining) in [
        ("/v1/check/p/a%2Fb", 4),
        ("/v1/check/%70/a/b", 3),
        ("/v1/check/p/%61%2fb", 2),
        ("/v1/check/p/%00%ff", 4),
        ("http://other:80/v1/check/p/a/b", 1),
    ] {
        let answer = server.get(target);
        assert!(answer.contains(&format!("\"remaining\":{remaining}")), "{target} {answer}");
    }
}

#[test]
fn every_mistake_is_told_and_the_connection_stays() {
    let mut server = Server::new();
    let long = "k".repeat(513);
    let mut server_of_long_targets = Server::with_limits(HttpLimits::default());
    let answer = server_of_long_targets.get(&format!("/v1/check/p/{long}"));
    assert!(answer.contains("1 to 512 bytes"), "{answer}");
    for (target, status, detail) in [
        ("/v1/check/unknown/k", 404, "no policy has this name"),
        ("/v1/check/%zz/k", 404, "no policy"),
        ("/v1/check/p/", 400, "1 to 512 bytes"),
        ("/v1/check/p/%4", 400, "hexadecimal"),
        ("/v1/check/p", 404, "try GET"),
        ("/v1/checks", 404, "try GET"),
        ("/", 404, "try GET"),
        ("/v1/check/p/k?cost=", 400, "cost must be"),
        ("/v1/check/p/k?cost=-1", 400, "cost must be"),
        ("/v1/check/p/k?cost=+1", 400, "cost must be"),
        ("/v1/check/p/k?cost=1.5", 400, "cost must be"),
        ("/v1/check/p/k?cost=99999999999999999999", 400, "cost must be"),
        ("/v1/check/p/k?cost=1&cost=1", 400, "cost must be"),
        ("/v1/check/p/k?cost=6", 400, "a cost of 6 is above the burst of 5"),
        ("/v1/check/p/k?deny_status=500", 400, "deny_status must be"),
        ("/v1/check/p/k?costs=1", 400, "the only query parameters"),
        ("/v1/check", 405, "takes POST"),
    ] {
        let answer = server.get(target);
        assert_eq!(statuses(&answer), [status], "{target}");
        assert!(answer.contains("Content-Type: application/problem+json\r\n"), "{target}");
        assert!(answer.contains(detail), "{target}: {answer}");
        assert!(answer.contains(&format!("\"status\":{status}")));
    }
    let (answer, closed) = server.ask("DELETE /v1/check/p/k HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(answer.contains("405") && answer.contains("\r\nAllow: GET, HEAD, POST\r\n") && !closed);
    assert_eq!(server.metrics.parse_errors(ParseErrorKind::BadCost), 7);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(400));
    let long_head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(1100));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(100));
    let cases: [(&str, u16); 53] = [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /\ta HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        ("GET /\r\nHost: h\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("G@T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET /#f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/0.9\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\n\r\n", 400),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", 400),
        ("GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\n", 417),
        (&long_target, 414),
        (&long_head, 431),
        (&many, 431),
    ];
    for (request, status) in cases {
        // A valid request that follows must not be answered: it may be part of what was refused.
        let stream = format!("{request}GET /v1/check/p/smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        for pieces in [vec![stream.as_bytes()], stream.as_bytes().chunks(1).collect()] {
            let mut server = Server::new();
            let (answer, closed) = server.feed(pieces);
            assert!(closed, "{request:?}: {answer}");
            assert_eq!(statuses(&answer), [status], "{request:?}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{request:?}");
            assert!(answer.contains("application/problem+json"), "{request:?}");
        }
    }
}

#[test]
fn connections_stay_or_close_as_the_client_and_the_limits_say() {
    let mut server = Server::new();
    for (request, closes, header) in [
        ("GET /health HTTP/1.1\r\nHost: h\r\n\r\n", false, None),
        ("GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true, Some("Connection: close")),
        ("GET /health HTTP/1.1\r\nHost: h\r\nConnection: x, CLOSE\r\n\r\n", true, Some("Connection: close")),
        ("GET /health HTTP/1.0\r\n\r\n", true, Some("Connection: close")),
        ("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, Some("Connection: keep-alive")),
        ("\r\nGET /health HTTP/1.1\r\nHost: h\r\n\r\n", false, None),
    ] {
        let (answer, closed) = server.ask(request);
        assert_eq!(closed, closes, "{request:?}");
        assert_eq!(statuses(&answer), [200]);
        assert_eq!(answer.lines().find(|l| l.starts_with("Connection")), header);
    }
    let mut limited =
        Server::with_limits(HttpLimits { max_requests_per_connection: 3, ..HttpLimits::default() });
    let (answers, closed) = limited.ask(&"GET /health HTTP/1.1\r\nHost: h\r\n\r\n".repeat(5));
    assert!(closed && statuses(&answers).len() == 3 && answers.matches("Connection: close").count() == 1);
}

/// RFC 9110, 2.5 and 9.3.7.
#[test]
fn later_minor_versions_are_spoken_with_as_the_last_known_and_the_whole_server_may_be_asked_for_options() {
    let mut server = Server::new();
    for (request, status) in [
        ("GET /v1/check/p/k?cost=0 HTTP/1.2\r\nHost: h\r\n\r\n", 200),
        ("POST /v1/check/p/k?cost=0 HTTP/1.9\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", 200),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("OPTIONS * HTTP/1.2\r\nHost: h\r\n\r\n", 404),
        ("OPTIONS /v1/check/p/k HTTP/1.1\r\nHost: h\r\n\r\n", 405),
    ] {
        let (answers, closed) = server.ask(&format!("{request}GET /health HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((statuses(&answers), closed), (vec![status, 200], false), "{request:?}");
    }
}

#[test]
fn bodies_are_consumed_whatever_the_request() {
    let mut server = Server::new();
    let next = "GET /v1/check/p/k?cost=0 HTTP/1.1\r\nHost: h\r\n\r\n";
    for request in [
        "GET /v1/check/p/k?cost=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ",
        "POST /v1/check/p/k?cost=0 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n\
         4\r\nGET \r\n0\r\nT: x\r\n\r\n",
        "POST /v1/check/p/k?cost=0 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (answers, closed) = server.ask(&format!("{request}{next}"));
        assert_eq!((statuses(&answers), closed), (vec![200, 200], false), "{request}");
    }
}

#[test]
fn a_client_that_waits_to_send_its_body_is_told_to_go_on() {
    let mut server = Server::new();
    let head = "POST /v1/check/p/k HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (answers, _) = server.feed([head.as_bytes(), b"a", b"b"]);
    assert_eq!(statuses(&answers), [100, 200]);
    let (answers, _) = server.ask(&format!("{head}ab"));
    assert_eq!(statuses(&answers), [200]);
}

#[test]
fn a_head_request_gets_the_head_that_a_get_would() {
    let mut server = Server::new();
    for target in ["/v1/check/p/k?cost=0", "/health", "/nothing"] {
        let get = server.get(target);
        let (head, _) = server.ask(&format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(head, get[..get.find("\r\n\r\n").unwrap() + 4]);
    }
    let (metrics, _) = server.ask("HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("\r\n\r\n"));
}

#[test]
fn a_head_request_that_is_refused_or_late_gets_no_content() {
    let mut server = Server::new();
    let (answer, closed) = server.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\nHEAD /health HTTP/1.1\r\n\r\n");
    let (_, rejected) = answer.rsplit_once("\r\nDate:").unwrap();
    assert!(closed && rejected.ends_with("\r\n\r\n") && rejected.contains("Content-Length: 1"), "{answer}");
    let mut output = vec![0; ROOM];
    for (input, has_content) in [("HEAD /he", false), ("HEADER", true), ("GET /", true), ("", true)] {
        let mut connection = ConnectionState::default();
        let written = server.service.timed_out(&mut connection, input.as_bytes(), &mut output);
        let answer = std::str::from_utf8(&output[..written]).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.ends_with('}') == has_content, "{answer}");
    }
}

#[test]
fn health_gives_its_reasons_and_draining_closes_connections() {
    let mut server = Server::new();
    let good = server.get("/health");
    assert!(
        good.ends_with(r#"{"status":"ok","region":"eu\"1","version":"1.2.3","reasons":[],"warnings":[]}"#),
        "{good}"
    );
    server.health.set(Reason::StalledCore, true);
    assert!(server.get("/health").contains(r#""reasons":["a data thread is stalled"]"#));
    server.health.set(Reason::Draining, true);
    let (answer, closed) = server.ask("GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(closed && answer.starts_with("HTTP/1.1 503") && answer.contains("Connection: close"));
    let (answer, closed) = server.ask("GET /v1/check/p/k HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(closed && statuses(&answer) == [200]);
    server.health.set(Reason::Draining, false);
    server.health.set(Reason::StalledCore, false);
    assert_eq!(statuses(&server.get("/health")), [200]);
}

#[test]
fn requests_that_came_together_are_all_answered_while_the_server_drains() {
    let mut server = Server::new();
    server.health.set(Reason::Draining, true);
    let request = "GET /v1/check/p/k HTTP/1.1\r\nHost: h\r\n\r\n";
    let post = "POST /v1/check/p/k HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
    for (stream, answered) in [
        (request.repeat(3), 3),
        (format!("{request}\r\n{post}ab"), 2),
        // What is not whole, or no request, could keep the connection open.
        (format!("{request}{request}GET /v1"), 2),
        (format!("{request}{post}a"), 1),
        (format!("{request}?{request}"), 1),
    ] {
        server.now = MonotonicNs(server.now.0 + 5 * SECOND);
        let (answers, closed) = server.ask(&stream);
        assert_eq!((statuses(&answers), closed), (vec![200; answered], true), "{stream}");
        let (_, last) = answers.rsplit_once("HTTP/1.1").unwrap();
        assert!(last.contains("\r\nConnection: close\r\n"), "{answers}");
        assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
    }
}

#[test]
fn the_metrics_page_comes_in_its_turn() {
    let mut server = Server::new();
    let (answers, closed) = server.ask(
        "GET /v1/check/p/k HTTP/1.1\r\nHost: h\r\n\r\nGET /metrics HTTP/1.1\r\nHost: h\r\n\r\n\
         GET /health HTTP/1.1\r\nHost: h\r\n\r\n\
         GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert!(closed);
    assert_eq!(statuses(&answers), [200, 200, 200, 200]);
    assert!(answers.contains("text/plain; version=0.0.4") && answers.ends_with("a_metric 1\n"));
}

#[test]
fn a_metrics_page_that_comes_while_the_server_drains_is_the_last_answer() {
    let mut server = Server::new();
    let (mut connection, mut output) = (ConnectionState::default(), vec![0; ROOM]);
    let request = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";
    let step = server.service.step(&mut connection, request, &mut output, server.now);
    assert_eq!(step.next, Next::AwaitMetrics);
    server.health.set(Reason::Draining, true);
    let (written, last) = server.service.finish_metrics(&mut connection, 3, &mut output);
    let head = std::str::from_utf8(&output[..written]).unwrap();
    assert!(last && connection.is_closed() && head.contains("\r\nConnection: close\r\n"), "{head}");
}

#[test]
fn slow_and_surplus_clients_are_told_why() {
    let mut server = Server::new();
    let mut output = vec![0; ROOM];
    let written = server.service.timed_out(&mut ConnectionState::default(), b"GET /", &mut output);
    assert!(output[..written].starts_with(b"HTTP/1.1 408 "));
    for refusal in [Refusal::Connections, Refusal::PartialRequests, Refusal::Metrics] {
        for (input, has_content) in [("HEAD /", false), ("GET /", true)] {
            let written = server.service.refuse(refusal, input.as_bytes(), &mut output);
            let answer = std::str::from_utf8(&output[..written]).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nConnection: close\r\n"));
            assert!(answer.contains("application/problem+json") && answer.ends_with('}') == has_content);
        }
    }
    assert_eq!(server.metrics.parse_errors(ParseErrorKind::Timeout), 1);
}

#[test]
fn the_largest_answers_fit_the_room_they_are_promised() {
    let name = "n".repeat(64);
    let mut most = spec(&name, 1 << 31, Mode::Shadow);
    most.limit.rate = Rate::new(1, Rate::DAY_NS).unwrap();
    most.overrides.clear();
    let policies = Arc::new(PolicySet::new(&[most], MonotonicNs(0)).unwrap());
    let mut server = Server::with_limits(HttpLimits::default());
    server.service.set_policies(policies);
    let check = format!(r#"{{"policy":"{name}","key":"k","cost":2147483648}}"#);
    let answer = server.post(&format!(r#"{{"checks":[{}]}}"#, vec![check.as_str(); 64].join(",")));
    assert_eq!(statuses(&answer), [200]);
    assert!(answer.len() < super::render::MAX_ANSWER_BYTES, "{}", answer.len());
    let one = server.get(&format!("/v1/check/{name}/k?cost=2147483648"));
    assert!(one.len() < super::render::MAX_CHECK_BYTES, "{}", one.len());
}

/// RFC 9112, 2.2: some clients end a body with a line end that is not part of it.
#[test]
fn one_empty_line_before_a_request_is_ignored_however_it_arrives_and_a_second_is_not() {
    let request = "GET /health HTTP/1.1\r\nHost: h\r\n\r\n";
    for (stream, expected) in [
        (format!("\r\n{request}\r\n{request}{request}"), vec![200, 200, 200]),
        (format!("{request}\r\n\r\n{request}"), vec![200, 400]),
        (format!("\r{request}"), vec![400]),
    ] {
        for length in [1, 2, 3, stream.len()] {
            let (answer, _) = Server::new().feed(stream.as_bytes().chunks(length));
            assert_eq!(statuses(&answer), expected, "{stream:?} in pieces of {length}");
        }
    }
}

fn any_request() -> impl Strategy<Value = String> {
    let host = "Host: h\r\n";
    prop_oneof![
        (0_u8..20, 0_u64..8)
            .prop_map(move |(k, c)| format!("GET /v1/check/p/k{k}?cost={c} HTTP/1.1\r\n{host}\r\n")),
        (0_usize..40).prop_map(move |n| format!(
            "POST /v1/check/one/x HTTP/1.1\r\n{host}Content-Length: {n}\r\n\r\n{}",
            "b".repeat(n)
        )),
        Just(format!(
            "POST /v1/check HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n2c\r\n{}\r\n0\r\n\r\n",
            r#"{"checks":[{"policy":"p","key":"k","cost":1}]}"#.get(..44).unwrap()
        )),
        Just(format!("GET /health HTTP/1.1\r\n{host}\r\n")),
        Just(format!("GET /metrics HTTP/1.1\r\n{host}\r\n")),
        Just(format!("GET /nothing HTTP/1.1\r\n{host}\r\n")),
        Just(format!("\r\nGET /health HTTP/1.1\r\n{host}\r\n")),
        Just("GET /bad HTTP/1.1\r\n\r\n".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn however_a_stream_is_split_its_answers_are_the_same(
        requests in prop::collection::vec(any_request(), 1..40),
        cuts in prop::collection::vec(1_usize..200, 1..50),
    ) {
        let stream = requests.concat();
        let whole = Server::new().feed([stream.as_bytes()]);
        let mut rest = stream.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(Server::new().feed(pieces), whole);
    }

    #[test]
    fn any_bytes_are_answered_with_whole_answers_or_not_at_all(
        mut requests in prop::collection::vec(any_request(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut stream = requests.drain(..).collect::<String>().into_bytes();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let (answers, _) = Server::new().feed([&stream[..]]);
        statuses(&answers);
    }
}
