//! `/health` and `/metrics`.

use super::{ROOM, Server, statuses};
use crate::data_plane::{Next, Service};
use crate::health::Reason;
use crate::http::ConnectionState;

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
    assert_eq!((step.next, step.answered), (Next::AwaitMetrics, 0), "it is answered with the page");
    server.health.set(Reason::Draining, true);
    let (written, last) = server.service.finish_metrics(&mut connection, 3, &mut output);
    let head = std::str::from_utf8(&output[..written]).unwrap();
    assert!(last && connection.is_closed() && head.contains("\r\nConnection: close\r\n"), "{head}");
}
