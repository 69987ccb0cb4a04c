//! Clients that take nothing, or more than there is, and those beside them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openclaw_rating::data_plane::RenderReply;

use crate::lines::{BIG, Server, ask, read_to_end, stalled_client};

#[test]
fn a_client_that_reads_nothing_is_slowed_and_harms_nobody() {
    let server = Server::start(|config| config.write_timeout = Duration::from_millis(1500));
    // Each asks for far more than the buffers of both ends hold.
    let hogs: Vec<_> = (0..50)
        .map(|_| {
            let mut hog = server.connect();
            hog.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
            let lines = "big\n".repeat(20_000);
            let _ = hog.write_all(lines.as_bytes());
            hog
        })
        .collect();
    let mut other = server.connect();
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(ask(&mut other, "hello\n"), "hello\n");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    server.until_open(1);
    drop(hogs);
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_whether_it_goes_on_sending_or_not() {
    let server = Server::start(|config| config.write_timeout = Duration::from_millis(1000));
    // All that is asked for is answered, and more than the kernels at both ends take.
    let [_silent, mut dripping] = [0, 1].map(|_| {
        let mut client = server.connect_with_little_room();
        client.write_all("big\n".repeat(12).as_bytes()).unwrap();
        client
    });
    server.until_open(2);
    let began = Instant::now();
    while server.counts.open.load(Ordering::Relaxed) > 0 {
        let _ = dripping.write_all(b"x");
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(began.elapsed() >= Duration::from_millis(900));
}

/// Reads with pauses, so that what is read is far less than the buffers on the way hold.
fn read_slowly(stream: &mut impl Read, bytes: usize) -> usize {
    let (mut piece, mut read) = (vec![0; 4096], 0);
    while read < bytes {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => read += count,
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    read
}

#[test]
fn a_client_that_reads_slowly_and_steadily_gets_everything_also_at_the_end() {
    let server = Server::start(|config| config.write_timeout = Duration::from_millis(500));
    for last in ["", "close\n"] {
        let mut client = server.connect_with_little_room();
        client.write_all(("big\n".repeat(40) + last).as_bytes()).unwrap();
        let wanted = 40 * BIG + last.len();
        assert_eq!(read_slowly(&mut client, wanted), wanted, "{last:?}");
    }
}

#[test]
fn more_incomplete_requests_than_there_is_room_for_are_refused_and_whole_ones_are_not() {
    let server = Server::start(|config| config.max_connections = 6000);
    let halves: Vec<_> = (0..4096)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"half").unwrap();
            stream
        })
        .collect();
    let mut surplus = server.connect();
    assert_eq!(ask(&mut surplus, "whole\n"), "whole\n");
    surplus.write_all(b"a half").unwrap();
    assert_eq!(read_to_end(&mut surplus), b"full\n");
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 1);
    drop(halves);
}

/// Answers how long others waited while a crowd that takes nothing sends as much as it can.
fn longest_wait_beside(server: &Server, crowd: &mut [TcpStream], input: &[u8]) -> Duration {
    let mut other = server.connect();
    ask(&mut other, "hello\n");
    for hog in &mut *crowd {
        hog.set_nonblocking(true).unwrap();
        let _ = hog.write(input);
    }
    let waits = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let began = Instant::now();
        ask(&mut other, "hello\n");
        ask(&mut server.connect(), "hello\n");
        began.elapsed()
    });
    waits.max().unwrap()
}

#[test]
fn a_crowd_that_waits_for_the_metrics_page_and_sends_on_holds_nobody_up() {
    let server = Server::start(|config| config.max_connections = 2000);
    let mut crowd: Vec<_> = (0..800).map(|_| server.connect()).collect();
    let input = "page\n".to_owned() + &"0123456789\n".repeat(6000);
    let wait = longest_wait_beside(&server, &mut crowd, input.as_bytes());
    assert!(wait < Duration::from_secs(2), "{wait:?}");
}

#[test]
fn a_crowd_that_reads_nothing_and_sends_on_holds_nobody_up() {
    let server = Server::start(|config| config.max_connections = 4000);
    let mut crowd: Vec<_> = (0..2500).map(|_| stalled_client(&server)).collect();
    let wait = longest_wait_beside(&server, &mut crowd, "0123456789\n".repeat(20_000).as_bytes());
    assert!(wait < Duration::from_secs(2), "{wait:?}");
}

#[test]
fn pages_that_are_taken_slowly_are_kept_up_to_a_bound_and_the_oldest_goes_first() {
    const PAGE_BYTES: usize = 8_000_000;
    let server = Server::start(|_| {});
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    let ask_for_page = |last: &[u8]| {
        let mut stream = server.connect_with_little_room();
        stream.write_all(&[b"page\n", last].concat()).unwrap();
        let request = requests.recv_timeout(Duration::from_secs(5)).unwrap();
        let reply = RenderReply { token: request.token, body: Bytes::from(vec![b'm'; PAGE_BYTES]) };
        replies.send(request.core, reply);
        stream.read_exact(&mut [0; 8]).unwrap();
        stream
    };
    let mut slow: Vec<_> = (0..16).map(|_| ask_for_page(b"")).collect();
    server.until_open(16);
    let mut last = ask_for_page(b"close\n");
    server.until_open(16);
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 1);
    assert!(read_to_end(&mut last).len() > PAGE_BYTES);
    let mut rest = Vec::new();
    let _ = slow[0].read_to_end(&mut rest);
    assert!(rest.len() < PAGE_BYTES);
    slow[1].read_exact(&mut vec![0; PAGE_BYTES]).unwrap();
}

#[test]
fn what_was_put_aside_for_want_of_buffers_is_answered_in_its_order() {
    let server = Server::start(|config| config.max_connections = 2000);
    let (requests, replies) = (server.plane.render_requests(), server.plane.metrics_replies());
    let mut crowd: Vec<_> = (0..600).map(|_| server.connect()).collect();
    let lines: String = (0..1000).map(|n| format!("line {n} of many\n")).collect();
    for stream in &mut crowd {
        stream.write_all(format!("page\n{lines}").as_bytes()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    let serve = std::thread::spawn(move || {
        while let Ok(request) = requests.recv_timeout(Duration::from_secs(2)) {
            let reply = RenderReply { token: request.token, body: Bytes::from_static(b"m\n") };
            replies.send(request.core, reply);
        }
    });
    let wanted = format!("page of 2\nm\n{lines}");
    for stream in &mut crowd {
        let mut answers = vec![0; wanted.len()];
        stream.read_exact(&mut answers).unwrap();
        assert!(answers == wanted.as_bytes());
    }
    assert_eq!(server.counts.refused.load(Ordering::Relaxed), 0);
    serve.join().unwrap();
}

#[test]
fn more_connections_than_receive_buffers_are_all_answered() {
    let server = Server::start(|config| config.max_connections = 5000);
    let mut streams: Vec<_> = (0..3000).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all("0123456789\n".repeat(300).as_bytes()).unwrap();
    }
    for stream in &mut streams {
        let mut answer = vec![0; 3300];
        stream.read_exact(&mut answer).unwrap();
        assert!(answer.ends_with(b"0123456789\n"));
    }
}
