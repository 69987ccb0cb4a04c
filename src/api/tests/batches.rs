//! Several checks in one request.

use super::{Server, statuses};
use crate::metrics::core::CheckResult;

#[test]
fn a_proxy_can_choose_the_status_of_a_denied_batch_and_nothing_else_about_it() {
    let mut server = Server::new();
    let body = r#"{"checks":[{"policy":"one","key":"k"}]}"#;
    assert_eq!(statuses(&server.post_to("/v1/check?deny_status=403", body)), [200]);
    for (query, status) in [
        ("?deny_status=403", 403),
        ("?deny_status=401", 401),
        ("?", 429),
        ("?deny_status=200", 400),
        ("?deny_status=403&deny_status=403", 400),
        ("?cost=1", 400),
        ("?x=1", 400),
    ] {
        let answer = server.post_to(&format!("/v1/check{query}"), body);
        assert_eq!(statuses(&answer), [status], "{query}: {answer}");
    }
}

#[test]
fn a_batch_is_all_or_nothing_and_tells_of_each() {
    let mut server = Server::new();
    let body = r#"{"checks":[{"policy":"p","key":"k","cost":3},{"policy":"one","key":"k"}]}"#;
    let first = server.post(body);
    assert_eq!(statuses(&first), [200]);
    let each = concat!(
        r#"{"allowed":true,"checks":["#,
        r#"{"allowed":true,"policy":"p","limit":5,"remaining":2,"reset_ms":3000,"retry_after_ms":0},"#,
        r#"{"allowed":true,"policy":"one","limit":1,"remaining":0,"reset_ms":1000,"retry_after_ms":0}]}"#
    );
    assert!(first.ends_with(each), "{first}");
    let second = server.post(r#"{"checks":[{"policy":"p","key":"k","cost":1},{"policy":"one","key":"k"}]}"#);
    assert_eq!(statuses(&second), [429]);
    assert!(second.contains("RateLimit: \"one\";r=0;t=1\r\nRetry-After: 1\r\n"), "{second}");
    assert!(second.contains(r#"{"allowed":false,"checks":[{"allowed":true,"#));
    assert!(server.get("/v1/check/p/k?cost=0").contains("\"remaining\":2"));
    let counted = [CheckResult::Allowed, CheckResult::Withheld, CheckResult::Peeked];
    assert_eq!(counted.map(|result| server.metrics.checks(0, result)), [1, 1, 1]);
    assert_eq!(server.metrics.checks(1, CheckResult::Denied), 1);
    let full = format!(
        r#"{{"ch\u0065cks":[{}]}}"#,
        vec![r#"{"policy":"p","key":"escaped \u0041","cost":0}"#; 64].join(",")
    );
    assert_eq!(statuses(&server.post(&full)), [200]);
}

#[test]
fn checks_of_one_key_whose_costs_can_never_be_had_together_are_refused() {
    let mut server = Server::new();
    let check = |policy, cost| format!(r#"{{"policy":"{policy}","key":"k","cost":{cost}}}"#);
    let batch = |checks: [String; 3]| format!(r#"{{"checks":[{}]}}"#, checks.join(","));
    let answer = server.post(&batch([check("p", 3), check("one", 1), check("p", 3)]));
    assert_eq!(statuses(&answer), [400]);
    assert!(
        answer.contains("check 2: with the checks of this key before it the cost is 6, above the burst of 5")
    );
    assert!(server.get("/v1/check/p/k?cost=0").contains("\"remaining\":5"));
    assert_eq!(statuses(&server.post(&batch([check("p", 2), check("one", 0), check("p", 3)]))), [200]);
    let again = server.post(&batch([check("p", 2), check("one", 0), check("p", 3)]));
    assert!(again.contains("\r\nRetry-After: 5\r\n"), "{again}");
    // What only watches or is switched off denies nobody.
    for policy in ["watch", "off"] {
        assert_eq!(
            statuses(&server.post(&batch([check(policy, 1), check(policy, 1), check(policy, 1)]))),
            [200]
        );
    }
}

#[test]
fn a_denied_batch_is_to_be_tried_again_when_the_last_of_its_checks_can_pass() {
    let mut server = Server::new();
    server.get("/v1/check/one/k");
    server.get("/v1/check/p/k?cost=3");
    // The bucket of `one` is empty and back in a second; that of `p` is not, but takes three to pass 5.
    let answer = server.post(r#"{"checks":[{"policy":"one","key":"k"},{"policy":"p","key":"k","cost":5}]}"#);
    assert!(
        answer.contains("RateLimit: \"p\";r=2;") && answer.contains("\r\nRetry-After: 3\r\n"),
        "{answer}"
    );
}

#[test]
fn a_denied_batch_with_a_thrown_kill_switch_charges_nobody() {
    let mut server = Server::new();
    let body =
        r#"{"checks":[{"policy":"p","key":"k"},{"policy":"stop","key":"k"},{"policy":"off","key":"k"}]}"#;
    assert_eq!(statuses(&server.post(body)), [429]);
    assert!(server.get("/v1/check/p/k?cost=0").contains("\"remaining\":5"));
}

#[test]
fn a_batch_that_is_not_as_asked_for_is_refused_whole() {
    let mut server = Server::new();
    let check = r#"{"policy":"p","key":"k"}"#;
    let many = format!(r#"{{"checks":[{}]}}"#, vec![check; 65].join(","));
    let long_key = format!(r#"{{"checks":[{{"policy":"p","key":"{}"}}]}}"#, "k".repeat(513));
    for (body, status, detail) in [
        ("", 400, "EOF"),
        ("{}", 400, "missing field"),
        ("[]", 400, "the body must be"),
        (r#"[[{"policy":"p","key":"k"}]]"#, 400, "expected an object"),
        (r#"{"checks":[["p","k"]]}"#, 400, "expected an object"),
        (r#"[[["p","k",1]]]"#, 400, "expected an object"),
        (r#"{"checks":{"0":{"policy":"p","key":"k"}}}"#, 400, "expected a list"),
        (r#"{"checks":[]}"#, 400, "no checks"),
        (r#"{"checks":[{"policy":"p"}]}"#, 400, "missing field"),
        (r#"{"checks":[{"policy":"p","key":"k","cost":-1}]}"#, 400, "the body must be"),
        (r#"{"checks":[{"policy":"p","key":"k","cost":1.5}]}"#, 400, "the body must be"),
        (r#"{"checks":[{"policy":"p","key":"k","extra":1}]}"#, 400, "unknown field"),
        (r#"{"checks":[{"policy":"p","key":"k"}]} x"#, 400, "trailing"),
        (r#"{"checks":[{"policy":"p","key":"k","policy":"p"}]}"#, 400, "duplicate field `policy`"),
        (r#"{"checks":[{"policy":"p","key":"k","k\u0065y":"k"}]}"#, 400, "duplicate field `key`"),
        (r#"{"checks":[{"policy":"p","key":"k","cost":1,"cost":1}]}"#, 400, "duplicate field `cost`"),
        (r#"{"checks":[{"policy":"p","key":"k"}],"checks":[]}"#, 400, "duplicate field `checks`"),
        (r#"{"checks":[{"policy":"p","key":"k","cost":null}]}"#, 400, "found null, expected a whole number"),
        (
            r#"{"checks":[{"policy":"p","key":"\udc00"}]}"#,
            400,
            "half of a surrogate pair at line 1 column 33",
        ),
        (r#"{"checks":[{"policy":"?","key":"k"}]"#, 400, "found EOF, expected a comma or the end of the"),
        (r#"{"checks":[{"policy":"p","key":"k"},{"policy":"?","key":"k"}]}"#, 404, "check 1: no policy"),
        (r#"{"checks":[{"policy":"p","key":"k"},{"policy":"p","key":""}]}"#, 400, "check 1: the key"),
        (r#"{"checks":[{"policy":"p","key":"k","cost":6}]}"#, 400, "check 0: a cost of 6"),
        (&many, 400, "more than 64"),
        (&long_key, 400, "1 to 512"),
        (&long_key.replace('k', r"\u006b"), 400, "1 to 512"),
    ] {
        let answer = server.post(body);
        assert_eq!(statuses(&answer), [status], "{body}");
        assert!(answer.contains(detail), "{body}: {answer}");
    }
    assert!(server.get("/v1/check/p/k?cost=0").contains("\"remaining\":5"));
}

#[test]
fn a_key_is_the_same_however_it_is_written_and_up_to_its_length_once_decoded() {
    let mut server = Server::new();
    let batch = |key: &str| format!(r#"{{"checks":[{{"policy":"p","key":"{key}"}}]}}"#);
    for (key, remaining) in [
        ("a/b😀", 4),
        (r"\u0061\/b\uD83D\ude00", 3),
        (&"k".repeat(512), 4),
        (&r"\u006b".repeat(512), 3),
        (&"\\u00e9".repeat(256), 4),
    ] {
        let answer = server.post(&batch(key));
        assert!(answer.contains(&format!("\"remaining\":{remaining}")), "{key}: {answer}");
    }
    assert!(server.get("/v1/check/p/a%2Fb%F0%9F%98%80").contains("\"remaining\":2"));
    assert!(server.post(&batch(&"\\u00e9".repeat(257))).contains("1 to 512"));
}
