//! Where requests begin and end, what is refused, and when connections stay.

use proptest::prelude::*;

use super::{ROOM, Server, statuses};
use crate::data_plane::{Refusal, Service};
use crate::health::Reason;
use crate::http::{ConnectionState, HttpLimits};
use crate::metrics::core::ParseErrorKind;
use crate::time::{MonotonicNs, NS_PER_SECOND as SECOND};

#[test]
fn a_request_with_one_field_too_many_is_told_how_many_there_may_be() {
    for (fields, status) in [(63, 200), (64, 431)] {
        let request = format!("GET /health HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(fields));
        let (answer, closed) = Server::new().ask(&request);
        assert_eq!((statuses(&answer), closed), (vec![status], status == 431));
        assert_eq!(answer.contains("more than 64 fields"), closed, "{answer}");
    }
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
fn what_could_be_read_in_two_ways_is_refused_and_the_connection_closed() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(400));
    let long_head = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(1100));
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(100));
    let cases: [(&str, u16); 58] = [
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
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        // RFC 9112, 6.3: chunked is not the last coding, so that nobody can say where the body ends.
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, 200-maybe\r\nContent-Length: 1\r\n\r\n", 417),
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
    // A list, whose empty members mean nothing (RFC 9110, 10.1.1 and 5.6.1).
    for (expectations, expected) in [("100-Continue, ,100-continue", vec![100, 200]), ("", vec![200])] {
        let head = head.replace("100-continue", expectations).replace("/k ", "/k?cost=0 ");
        let (answers, _) = server.feed([head.as_bytes(), b"ab"]);
        assert_eq!(statuses(&answers), expected, "{expectations:?}");
    }
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
