//! What the data plane promises of connections, over real sockets.
#![allow(clippy::unwrap_used)]

mod lines;
mod pressure;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openclaw_rating::bucket::hash::KeyHasher;
use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::data_plane::{ListenAddr, RenderReply};
use openclaw_rating::time::{ManualClock, MonotonicNs};

use self::lines::{BIG, Server, ask, read_to_end, stalled_client};

#[test]
fn requests_are_answered_on_tcp_and_on_a_unix_socket_by_every_thread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let server = Server::start(|config| {
        config.listen.push(ListenAddr::Unix(path.clone()));
        config.threads = 2;
        config.pin = true;
    });
    for _ in 0..20 {
        let mut unix = UnixStream::connect(&path).unwrap();
        assert_eq!(ask(&mut unix, "hello\n"), "hello\n");
        assert_eq!(ask(&mut server.connect(), "hello\n"), "hello\n");
    }
    server.until_open(0);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_request_in_pieces_is_answered_when_it_is_whole() {
    let server = Server::start(|_| {});
    let mut stream = server.connect();
    let line = "0123456789".repeat(900) + "\n";
    for piece in line.as_bytes().chunks(1000) {
        stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer).unwrap();
    assert!(answer == line.as_bytes());
    assert_eq!(ask(&mut stream, "next\n"), "next\n");
}

#[test]
fn a_hundred_thousand_requests_sent_before_any_answer_is_read_are_answered_in_order() {
    let server = Server::start(|_| {});
    let mut stream = server.connect();
    let lines: String = (0..100_000).map(|n| format!("line {n} of many\n")).collect();
    let mut writer = stream.try_clone().unwrap();
    let to_write = lines.clone();
    let writing = std::thread::spawn(move || writer.write_all(to_write.as_bytes()).unwrap());
    std::thread::sleep(Duration::from_millis(300));
    let mut answers = vec![0; lines.len()];
    stream.read_exact(&mut answers).unwrap();
    assert!(answers == lines.as_bytes());
    writing.join().unwrap();
}

#[test]
fn a_client_that_ends_its_side_gets_all_its_answers() {
    let server = Server::start(|_| {});
    let mut stream = server.connect();
    stream.write_all("big\n".repeat(200).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream).len(), 200 * BIG);
    server.until_open(0);
}

#[test]
fn a_last_answer_arrives_though_more_input_was_on_its_way() {
    let server = Server::start(|_| {});
    for _ in 0..50 {
        let mut stream = server.connect();
        stream.write_all(("close\n".to_owned() + &"more\n".repeat(2000)).as_bytes()).unwrap();
        assert_eq!(read_to_end(&mut stream), b"close\n");
    }
    server.until_open(0);
}

#[test]
fn resets_in_the_middle_leave_nothing_behind() {
    let server = Server::start(|_| {});
    for round in 0..200 {
        let stream = server.connect();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        let _ = (&stream).write_all("big\n".repeat(round % 50).as_bytes());
        let _ = (&stream).write_all(b"an incomplete");
    }
    server.until_open(0);
    assert_eq!(ask(&mut server.connect(), "hello\n"), "hello\n");
}

#[test]
fn connections_over_the_limit_are_told_so_and_places_are_used_again() {
    let server = Server::start(|config| config.max_connections = 10);
    for _ in 0..3 {
        let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
        streams.iter_mut().for_each(|s| assert_eq!(ask(s, "hello\n"), "hello\n"));
        assert_eq!(read_to_end(&mut server.connect()), b"full\n");
        drop(streams);
        server.until_open(0);
    }
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 3);
}

#[test]
fn however_many_are_over_the_limit_each_is_told_so() {
    let server = Server::start(|config| config.max_connections = 10);
    let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(|s| assert_eq!(ask(s, "hello\n"), "hello\n"));
    // More than there are places for those that are turned away.
    let surplus: Vec<_> = (0..300).map(|_| server.connect()).collect();
    for mut stream in surplus {
        assert_eq!(read_to_end(&mut stream), b"full\n");
    }
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 300);
    streams.iter_mut().for_each(|s| assert_eq!(ask(s, "hello\n"), "hello\n"));
    drop(streams);
    server.until_open(0);
    assert_eq!(ask(&mut server.connect(), "hello\n"), "hello\n");
}

#[test]
fn whoever_was_turned_away_and_stays_takes_no_place_of_those_that_are_served() {
    let server = Server::start(|config| config.max_connections = 2);
    let [mut first, mut second] = [server.connect(), server.connect()];
    assert_eq!((ask(&mut first, "one\n"), ask(&mut second, "two\n")), ("one\n".into(), "two\n".into()));
    let mut surplus: Vec<_> = (0..10).map(|_| server.connect()).collect();
    surplus.iter_mut().for_each(|stream| stream.read_exact(&mut [0; 5]).unwrap());
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut first), b"");
    assert_eq!(ask(&mut server.connect(), "three\n"), "three\n");
    drop(surplus);
}

#[test]
fn all_threads_together_take_as_many_connections_as_there_may_be() {
    let server = Server::start(|config| {
        config.threads = 2;
        config.max_connections = 10;
    });
    // So many that each thread gets more than half of what may be.
    let mut streams: Vec<_> = (0..60).map(|_| server.connect()).collect();
    let answers = streams.iter_mut().map(|stream| {
        // Who is turned away may be so before it has asked.
        let _ = stream.write_all(b"hello\n");
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        first[0]
    });
    assert_eq!(answers.filter(|first| *first == b'h').count(), 10);
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 50);
    drop(streams);
    server.until_open(0);
}

#[test]
fn idle_connections_and_slow_requests_are_ended() {
    let server = Server::start(|config| {
        config.idle_timeout = Duration::from_millis(600);
        config.header_timeout = Duration::from_millis(600);
    });
    let mut idle = server.connect();
    let mut slow = server.connect();
    let began = Instant::now();
    let mut answer = Vec::new();
    // A byte now and then does not put the end off.
    slow.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while began.elapsed() < Duration::from_secs(5) {
        let _ = slow.write_all(b"x");
        match slow.read_to_end(&mut answer) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    assert_eq!(answer, b"slow\n");
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(read_to_end(&mut idle), b"");
    server.until_open(0);
}

#[test]
fn a_metrics_page_of_any_size_comes_in_its_turn() {
    let server = Server::start(|_| {});
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    for size in [0, 1, 100_000, 1_000_000] {
        let mut stream = server.connect();
        stream.write_all(b"before\npage\nafter\nclose\n").unwrap();
        let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        replies.send(request.core, RenderReply { token: request.token, body: Bytes::from(vec![b'm'; size]) });
        let wanted = format!("before\npage of {size}\n{}after\nclose\n", "m".repeat(size));
        assert!(read_to_end(&mut stream) == wanted.as_bytes(), "{size}");
    }
}

#[test]
fn a_metrics_page_that_does_not_come_is_refused_in_time() {
    let clock = Arc::new(ManualClock::default());
    let server = Server::start_by(Arc::clone(&clock), &Server::config());
    let requests = server.plane.render_requests();
    let mut stream = server.connect();
    // What comes behind the request for the page is not what is refused.
    stream.write_all(b"before\npage\nbehind").unwrap();
    requests.recv_timeout(Duration::from_secs(5)).unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
    let answers = std::thread::spawn(move || read_to_end(&mut stream));
    while !answers.is_finished() {
        clock.advance(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(answers.join().unwrap(), b"none\n");
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 1);
}

#[test]
fn a_metrics_page_for_a_connection_that_is_gone_reaches_nobody_else() {
    let server = Server::start(|config| config.max_connections = 1);
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    let mut first = server.connect();
    first.write_all(b"page\n").unwrap();
    let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    socket2::SockRef::from(&first).set_linger(Some(Duration::ZERO)).unwrap();
    drop(first);
    // Nothing is received while a page is waited for, and so the reset is not seen before it comes.
    replies.send(request.core, RenderReply { token: request.token, body: Bytes::from_static(b"secret") });
    server.until_open(0);
    let mut second = server.connect();
    second.write_all(b"page\n").unwrap();
    let _ = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    replies.send(request.core, RenderReply { token: request.token, body: Bytes::from_static(b"secret") });
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0; 64]).is_err());
}

#[test]
fn a_thousand_who_ask_for_the_metrics_page_at_once_all_get_it_by_few_requests() {
    let server = Server::start(|config| config.max_connections = 2000);
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    let mut streams: Vec<_> = (0..1200).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"page\n").unwrap();
    }
    let first = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(requests.try_recv().is_err(), "one page is asked for at a time");
    let mut late = server.connect();
    late.write_all(b"page\n").unwrap();
    let page = |token, text: &'static [u8]| RenderReply { token, body: Bytes::from_static(text) };
    replies.send(first.core, page(first.token, b"one\n"));
    let second = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    replies.send(second.core, page(second.token, b"two\n"));
    let read = |stream: &mut TcpStream| {
        let mut answer = [0; 14];
        stream.read_exact(&mut answer).unwrap();
        answer
    };
    let pages: Vec<_> = streams.iter_mut().map(read).collect();
    assert_eq!(&pages[0], b"page of 4\none\n");
    assert!(pages.iter().all(|page| page == b"page of 4\none\n" || page == b"page of 4\ntwo\n"));
    assert_eq!(&read(&mut late), b"page of 4\ntwo\n");
    assert!(requests.try_recv().is_err());
}

#[test]
fn policies_reach_every_thread() {
    let server = Server::start(|config| config.threads = 2);
    let policies = Arc::new(PolicySet::new(&[], &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap());
    server.plane.publish_policies(&policies);
    let until = Instant::now() + Duration::from_secs(5);
    while server.counts.policies.load(Ordering::Relaxed) < 2 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_shutdown_answers_what_is_open_refuses_what_is_new_and_ends_in_time() {
    let mut server = Server::start(|_| {});
    let (mut idle, mut open, mut stuck) = (server.connect(), server.connect(), server.connect());
    ask(&mut idle, "hello\n");
    ask(&mut open, "hello\n");
    open.write_all(b"half a ").unwrap();
    stuck.write_all(b"never whole").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let (address, finish) = (server.address, open.try_clone().unwrap());
    let client = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        (&finish).write_all(b"line\nclose\n").unwrap();
        let refused = TcpStream::connect(address).is_err();
        (read_to_end(&mut open), refused)
    });
    let began = Instant::now();
    assert!(server.plane.shutdown(Duration::from_secs(2)).is_empty());
    assert!(began.elapsed() < Duration::from_secs(4));
    let (answers, refused) = client.join().unwrap();
    assert_eq!(answers, b"half a line\nclose\n");
    assert!(refused);
    assert_eq!(read_to_end(&mut idle), b"");
}

/// Waits until the server takes no connections: from then on it ends.
fn until_draining(address: SocketAddr) {
    let until = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_request_that_reaches_a_connection_kept_alive_while_the_server_ends_is_answered() {
    let mut server = Server::start(|_| {});
    let (mut idle, mut reads) = (server.connect(), server.connect_with_little_room());
    ask(&mut idle, "hello\n");
    // Its answers are all written when the server begins to end, and most of them are not sent.
    reads.write_all("big\n".repeat(12).as_bytes()).unwrap();
    reads.read_exact(&mut [0]).unwrap();
    let address = server.address;
    let client = std::thread::spawn(move || {
        until_draining(address);
        idle.write_all(b"once more\n").unwrap();
        reads.read_exact(&mut [0; 12 * BIG - 1]).unwrap();
        reads.write_all(b"once more\n").unwrap();
        (read_to_end(&mut idle), read_to_end(&mut reads))
    });
    let began = Instant::now();
    assert!(server.plane.shutdown(Duration::from_secs(10)).is_empty());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(client.join().unwrap(), (b"once more\n".to_vec(), b"once more\n".to_vec()));
}

#[test]
fn a_shutdown_ends_connections_that_were_answered_while_it_was_under_way() {
    let mut server = Server::start(|_| {});
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    let (mut asks, mut reads) = (server.connect(), stalled_client(&server));
    asks.write_all(b"page\n").unwrap();
    let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
    let client = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        replies.send(request.core, RenderReply { token: request.token, body: Bytes::from_static(b"m") });
        (read_to_end(&mut asks), read_to_end(&mut reads).len())
    });
    let began = Instant::now();
    assert!(server.plane.shutdown(Duration::from_secs(10)).is_empty());
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(client.join().unwrap(), (b"page of 1\nm".to_vec(), 1000 * BIG));
}
