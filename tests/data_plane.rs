//! What the data plane promises of connections, over real sockets, with a service of lines: each line
//! is answered by itself; `close` ends the connection, `big` answers with 8 KiB, `page` is the metrics page.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::data_plane::{
    DataPlane, DataPlaneConfig, Event, ListenAddr, Next, Refusal, RenderReply, Service, Step, Turn,
};
use openclaw_rating::time::{MonotonicNs, SystemClock};

const MAX_LINE: usize = 10_000;
const BIG: usize = 8192;

#[derive(Default)]
struct Counts {
    open: AtomicI64,
    refused: AtomicU64,
    policies: AtomicU64,
}

struct Lines {
    counts: Arc<Counts>,
}

impl Service for Lines {
    type Connection = ();

    const MAX_ANSWER_BYTES: usize = MAX_LINE + 1;

    fn max_request_bytes(&self) -> usize {
        MAX_LINE
    }

    fn step(&mut self, (): &mut (), input: &[u8], output: &mut [u8], _: MonotonicNs) -> Step {
        let mut step = Step { consumed: 0, written: 0, answered: 0, next: Next::NeedInput };
        while let Some(end) = input[step.consumed..].iter().position(|b| *b == b'\n') {
            let line = &input[step.consumed..=step.consumed + end];
            if output.len() - step.written < Self::MAX_ANSWER_BYTES {
                step.next = Next::NeedOutputSpace;
                return step;
            }
            step.consumed += line.len();
            step.answered += 1;
            if line == b"page\n" {
                step.next = Next::AwaitMetrics;
                return step;
            }
            let answer = if line == b"big\n" { &[b'x'; BIG][..] } else { line };
            output[step.written..step.written + answer.len()].copy_from_slice(answer);
            step.written += answer.len();
            if line == b"close\n" {
                step.next = Next::Close;
                return step;
            }
        }
        if input.len() - step.consumed >= MAX_LINE {
            step.next = Next::Close;
        }
        step
    }

    fn reads_body(&self, (): &()) -> bool {
        false
    }

    fn finish_metrics(&mut self, (): &mut (), bytes: usize, output: &mut [u8]) -> (usize, bool) {
        let head = format!("page of {bytes}\n");
        output[..head.len()].copy_from_slice(head.as_bytes());
        (head.len(), false)
    }

    fn timed_out(&mut self, (): &mut (), _: &[u8], output: &mut [u8]) -> usize {
        output[..5].copy_from_slice(b"slow\n");
        5
    }

    fn refuse(&mut self, refusal: Refusal, input: &[u8], output: &mut [u8]) -> usize {
        // Whom there is no place for is refused before anything of him is read.
        assert!(refusal != Refusal::PartialRequests || !input.is_empty());
        output[..5].copy_from_slice(b"full\n");
        5
    }

    fn set_policies(&mut self, _: Arc<PolicySet>) {
        self.counts.policies.fetch_add(1, Ordering::Relaxed);
    }

    fn set_wall_clock(&mut self, _: u64) {}

    fn observe(&mut self, event: Event) {
        match event {
            Event::Opened => drop(self.counts.open.fetch_add(1, Ordering::Relaxed)),
            Event::Closed => drop(self.counts.open.fetch_sub(1, Ordering::Relaxed)),
            Event::Refused => drop(self.counts.refused.fetch_add(1, Ordering::Relaxed)),
            Event::Received(_) | Event::Sent(_) => {}
        }
    }

    fn turn_ended(&mut self, _: Turn) {}
}

struct Server {
    plane: DataPlane,
    counts: Arc<Counts>,
    address: SocketAddr,
}

impl Server {
    fn start(change: impl FnOnce(&mut DataPlaneConfig)) -> Self {
        let mut config = DataPlaneConfig {
            listen: vec![ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())],
            threads: 1,
            pin: false,
            max_connections: 1000,
            backlog: 1024,
            idle_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
        };
        change(&mut config);
        let counts = Arc::new(Counts::default());
        let service = |_| Lines { counts: Arc::clone(&counts) };
        let plane = DataPlane::start(&config, SystemClock::start(), service).unwrap();
        let tcp = plane.addresses().find_map(|a| match a {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        });
        let address = tcp.unwrap();
        Self { plane, counts, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client whose kernel takes little that the client has not read.
    fn connect_with_little_room(&self) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // What a connection begins with is promised, also when less is wanted later.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Waits until so many connections are open.
    fn until_open(&self, wanted: i64) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.counts.open.load(Ordering::Relaxed) != wanted {
            assert!(
                Instant::now() < until,
                "{} open, not {wanted}",
                self.counts.open.load(Ordering::Relaxed)
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn ask(stream: &mut (impl Read + Write), line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

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

/// Fills the way to a client that reads nothing, until the server's answers do not fit it any more.
fn stalled_client(server: &Server) -> TcpStream {
    let client = server.connect_with_little_room();
    // So few that all of them are taken, and their answers are more than the kernel takes.
    (&client).write_all("big\n".repeat(1000).as_bytes()).unwrap();
    client
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_whether_it_goes_on_sending_or_not() {
    let server = Server::start(|config| config.write_timeout = Duration::from_millis(1000));
    let (_silent, mut dripping) = (stalled_client(&server), stalled_client(&server));
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

#[test]
fn policies_reach_every_thread() {
    let server = Server::start(|config| config.threads = 2);
    let policies = Arc::new(PolicySet::new(&[], MonotonicNs(0)).unwrap());
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
    let server = Server::start(|config| config.max_connections = 2000);
    let mut crowd: Vec<_> = (0..400).map(|_| stalled_client(&server)).collect();
    let wait = longest_wait_beside(&server, &mut crowd, "0123456789\n".repeat(20_000).as_bytes());
    assert!(wait < Duration::from_secs(2), "{wait:?}");
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
