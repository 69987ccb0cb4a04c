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

/// As many as there are places on TCP.
const PLACES: usize = 32;
/// Far less than a question has to arrive, and what a busy machine may take for one that is there.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Three times as many strangers as there are places send `begin`, and then a byte now and then unless they are idle:
/// who shows the token is answered at once.
fn strangers_keep_nobody_out(begin: &str) {
    let server = Server::start(accepts);
    let mut strangers: Vec<TcpStream> = (0..3 * PLACES).map(|_| server.connect()).collect();
    let mut send = |bytes: &[u8]| {
        // Most have had to go already.
        strangers.iter_mut().for_each(|stream| drop(stream.write_all(bytes)));
    };
    send(begin.as_bytes());
    let more: &[u8] = if begin.is_empty() { b"" } else { b"x" };
    // The server hears all of them out.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(20));
        send(more);
    }
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
        assert!(began.elapsed() < AT_ONCE, "they hold {:?}", began.elapsed());
        send(more);
    }
}

#[test]
fn strangers_that_send_nothing_or_half_a_head_keep_nobody_out() {
    strangers_keep_nobody_out("");
    strangers_keep_nobody_out("GET /v1/status HTTP/1.1\r\n");
}

#[test]
fn strangers_that_owe_what_is_signed_keep_nobody_out() {
    strangers_keep_nobody_out("POST /webhooks/pagerduty HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
}

#[test]
fn strangers_that_were_refused_and_go_on_sending_keep_nobody_out() {
    strangers_keep_nobody_out("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn who_has_to_give_way_is_told_and_who_need_not_is_cut_off_in_time() {
    let server = Server::start(accepts);
    let mut slow: Vec<TcpStream> = (0..PLACES).map(|_| server.connect()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v1/status HTTP/1.1\r\n").unwrap();
    }
    assert_eq!(server.remote("GET /v1/status", &bearer(TOKEN), "").status, 200);
    let told = slow.into_iter().map(|stream| heard_on(stream).status);
    assert_eq!(told.collect::<Vec<_>>(), [vec![429], vec![408; PLACES - 1]].concat());
}

#[test]
fn who_was_let_in_gives_way_to_nobody_and_the_socket_is_not_theirs_to_fill() {
    let server = Server::start(accepts);
    let head = format!(
        "POST /v1/failover/freeze HTTP/1.1\r\nHost: x\r\n{}Expect: 100-continue\r\n\
         Content-Length: 12\r\n\r\n",
        bearer(TOKEN)
    );
    let mut known: Vec<TcpStream> = (0..PLACES).map(|_| server.connect()).collect();
    for stream in &mut known {
        stream.write_all(head.as_bytes()).unwrap();
    }
    for stream in &mut known {
        stream.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
    }
    let refused = (0..50)
        .map(|_| server.remote("GET /v1/status", &bearer(TOKEN), ""))
        .find(|heard| heard.status == 429);
    assert!(refused.is_some(), "a 33rd is listened to");
    assert_eq!(server.local("GET /v1/status", "").status, 200, "TCP fills the Unix socket");
    for mut stream in known {
        stream.write_all(b"{\"why\":\"it\"}").unwrap();
        assert_eq!(heard_on(stream).status, 200);
    }
}

#[test]
fn on_the_socket_nobody_gives_way() {
    let server = Server::start(accepts);
    let idle: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(server.socket()).unwrap()).collect();
    assert_eq!(server.local("GET /v1/status", "").status, 429);
    drop(idle);
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
