//! Requests that mean harm, and answers that do not come.

use super::*;

#[test]
fn hostile_bodies_are_refused_before_they_are_read() {
    let server = Server::start(accepts);
    let token = bearer(TOKEN);
    let head =
        |line: &str, more: &str| server.raw(format!("{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes());
    let start = "POST /v1/failover/start";
    let chunked = head(start, &format!("{token}Transfer-Encoding: chunked\r\n"));
    assert_eq!(chunked.status, 411);
    let no_length = head(start, &token);
    assert!(no_length.status == 400 && no_length.detail().contains("Content-Length"), "{no_length:?}");
    assert_eq!(head(start, &format!("{token}Content-Length: 8193\r\n")).status, 413);
    assert_eq!(head("POST /webhooks/pagerduty", "Content-Length: 262145\r\n").status, 413);
    assert_eq!(head(start, &format!("{token}Content-Length: 5\r\nContent-Length: 5\r\n")).status, 400);
    assert_eq!(head(start, "Content-Length: 100\r\n").status, 401, "a body is waited for without a token");
    assert_eq!(head(start, &format!("X: {}\r\n", "x".repeat(9000))).status, 431);
    assert_eq!(server.raw(b"\x16\x03\x01\x02\r\n\r\n").status, 400);
    assert!(server.heard.is_empty());
}

#[test]
fn who_waits_for_leave_to_send_a_body_gets_it() {
    let server = Server::start(accepts);
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/failover/freeze HTTP/1.1\r\nHost: x\r\n{}Expect: 100-continue\r\n\
         Content-Length: 12\r\n\r\n",
        bearer(TOKEN)
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{\"why\":\"it\"}").unwrap();
    assert_eq!(heard_on(stream).status, 200);
    assert_eq!(server.heard().0, Command::Freeze { why: "it".to_owned() }.into());
}

#[test]
fn who_is_slow_or_many_is_cut_off_and_the_socket_is_not_theirs_to_fill() {
    let server = Server::start(accepts);
    let mut slow: Vec<TcpStream> = (0..32).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    }
    let refused = (0..50)
        .map(|_| server.remote("GET /v1/status", &bearer(TOKEN), ""))
        .find(|heard| heard.status == 429);
    assert!(refused.is_some(), "a 33rd is listened to");
    assert_eq!(server.local("GET /v1/status", "").status, 200, "TCP fills the Unix socket");
    for stream in slow {
        assert_eq!(heard_on(stream).status, 408);
    }
    assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
}

#[test]
fn an_agent_that_hangs_holds_nobody_for_more_than_its_time() {
    fn hangs(_: &Order) -> Result<OrderAnswer, OrderRefused> {
        std::thread::sleep(Duration::from_secs(4));
        Err(OrderRefused::NotFrozen)
    }
    let server = Server::start(hangs);
    let began = Instant::now();
    let refused = server.local("POST /v1/failover/ack", "");
    assert!(refused.status == 503 && refused.detail().contains("did not answer within 2 s"), "{refused:?}");
    assert!(began.elapsed() < Duration::from_millis(3500));
}
