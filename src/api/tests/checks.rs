//! One check by URL.

use std::sync::Arc;

use super::{Server, spec, statuses};
use crate::api::render::{MAX_ANSWER_BYTES, MAX_CHECK_BYTES};
use crate::bucket::gcra::Rate;
use crate::bucket::hash::KeyHasher;
use crate::bucket::policy::{Mode, PolicySet};
use crate::data_plane::Service;
use crate::http::HttpLimits;
use crate::metrics::core::{CheckResult, ParseErrorKind};
use crate::time::{MonotonicNs, NS_PER_SECOND as SECOND};

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
fn the_largest_answers_fit_the_room_they_are_promised() {
    let name = "n".repeat(64);
    let mut most = spec(&name, 1 << 31, Mode::Shadow);
    most.limit.rate = Rate::new(1, Rate::DAY_NS).unwrap();
    most.overrides.clear();
    let policies = Arc::new(PolicySet::new(&[most], &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap());
    let mut server = Server::with_limits(HttpLimits::default());
    server.service.set_policies(policies);
    let check = format!(r#"{{"policy":"{name}","key":"k","cost":2147483648}}"#);
    let answer = server.post(&format!(r#"{{"checks":[{}]}}"#, vec![check.as_str(); 64].join(",")));
    assert_eq!(statuses(&answer), [200]);
    assert!(answer.len() < MAX_ANSWER_BYTES, "{}", answer.len());
    let one = server.get(&format!("/v1/check/{name}/k?cost=2147483648"));
    assert!(one.len() < MAX_CHECK_BYTES, "{}", one.len());
}
