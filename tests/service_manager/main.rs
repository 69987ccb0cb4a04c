//! Promises to a service manager: what it is told, what it keeps, and that a restart loses nothing.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod manager;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::ports::free_port;
use manager::{Manager, exists, socket_unit};
use rustix::process::Signal;

const POLICY: &str = "[[policy]]\nname = \"slow\"\nrate = \"1/day\"\nburst = 10\n\
    [[policy]]\nname = \"fast\"\nrate = \"1000000/s\"\nburst = 1000000\n";

fn config(port: u16, more: &str) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\", \"unix:check.sock\"]\nthreads = 2\npin = false\n\
         [table]\ncapacity = 1000\n[state]\ndirectory = \"state\"\nsnapshot_interval = \"1h\"\n\
         [shutdown]\nlame_duck = \"0s\"\ndeadline = \"5s\"\n{more}{POLICY}"
    )
}

fn status_of(mut stream: impl std::io::Read + std::io::Write, path: &str) -> Option<u16> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.get(9..12)?.parse().ok()
}

fn ask(port: u16, path: &str) -> Option<u16> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    status_of(stream, path)
}

#[test]
fn ready_comes_once_all_listeners_answer_and_a_reload_and_the_end_are_told() {
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    manager.start();
    assert_eq!(ask(port, "/health"), Some(200));
    assert_eq!(status_of(UnixStream::connect(manager.path("check.sock")).unwrap(), "/health"), Some(200));
    let status = manager.until("STATUS=").pop().unwrap();
    assert!(status.contains("serving 2 policies on 127.0.0.1:"), "{status}");

    manager.signal(Signal::HUP);
    let said = manager.until("READY=1");
    assert!(said.contains(&"RELOADING=1".to_owned()), "{said:?}");
    let begun: u64 =
        said.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap().parse().unwrap();
    assert!(begun > 0);

    std::fs::write(manager.path("openclaw-rating.toml"), "[[policy]]\nname = 1").unwrap();
    manager.signal(Signal::HUP);
    manager.until("RELOADING=1");
    manager.until("READY=1");
    let status = manager.until("STATUS=").pop().unwrap();
    assert!(status.contains("the last reload was refused"), "{status}");

    manager.signal(Signal::TERM);
    let said = manager.until("EXTEND_TIMEOUT_USEC=");
    assert!(
        said.contains(&"STOPPING=1".to_owned()) && said.last().unwrap().ends_with("=65000000"),
        "{said:?}"
    );
    manager.until_ended();
}

#[test]
fn the_watchdog_is_fed_while_the_data_threads_turn() {
    let mut manager = Manager::new(&config(free_port(), "")).with_watchdog(Duration::from_secs(4));
    manager.start();
    let fed = manager.count("WATCHDOG=1", Duration::from_secs(4));
    assert!((2..=5).contains(&fed), "fed {fed} times in four seconds");
}

#[test]
fn the_status_line_counts_checks() {
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    manager.start();
    manager.until("STATUS=");
    for _ in 0..7 {
        assert_eq!(ask(port, "/v1/check/fast/k"), Some(200));
    }
    let status = manager.until("STATUS=").pop().unwrap();
    assert!(status.contains("; 7 checks, "), "{status}");
}

#[test]
fn the_journal_gets_severities_and_no_second_time_stamp() {
    let mut manager = Manager::new(&config(free_port(), "")).with_journal();
    manager.start();
    std::fs::write(manager.path("openclaw-rating.toml"), "[[policy]]\nname = 1").unwrap();
    manager.signal(Signal::HUP);
    manager.until("RELOADING=1");
    manager.until("READY=1");
    manager.signal(Signal::TERM);
    manager.until_ended();
    let log = manager.log();
    assert!(log.lines().any(|line| line.starts_with("<6>serving slow")), "{log}");
    assert!(log.lines().any(|line| line.starts_with("<3>reload refused")), "{log}");
}

/// A client that keeps its connection until an answer says that it is the last.
struct KeptAlive {
    port: u16,
    connection: Option<BufReader<TcpStream>>,
}

impl KeptAlive {
    fn ask(&mut self, path: &str) -> Option<u16> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).ok()?)),
        };
        connection.get_ref().set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes()).ok()?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            connection.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
        }
        let field = |name| head.lines().find_map(|line| line.strip_prefix(name));
        let bytes: usize = field("Content-Length: ")?.parse().ok()?;
        connection.read_exact(&mut vec![0; bytes]).ok()?;
        if field("Connection: close").is_some() {
            self.connection = None;
        }
        head.get(9..12)?.parse().ok()
    }
}

/// Asks without a pause until told to stop, by a connection each and by some that are kept; how many got no answer,
/// and how many did.
fn clients(port: u16, stop: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<(usize, usize)>> {
    let client = |keeps: bool| {
        let stop = Arc::clone(stop);
        std::thread::spawn(move || {
            let (mut failed, mut answered) = (0, 0);
            let mut kept = KeptAlive { port, connection: None };
            while !stop.load(Ordering::Relaxed) {
                let path = "/v1/check/fast/k";
                match if keeps { kept.ask(path) } else { ask(port, path) } {
                    Some(200 | 429) => answered += 1,
                    _ => {
                        failed += 1;
                        kept.connection = None;
                    }
                }
            }
            (failed, answered)
        })
    };
    (0..8).map(|number| client(number % 2 == 0)).collect()
}

#[test]
fn a_restart_under_load_loses_no_connection_attempt_no_request_and_no_token() {
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    manager.start();
    assert_eq!(ask(port, "/v1/check/slow/k?cost=10"), Some(200));
    let stop = Arc::new(AtomicBool::new(false));
    let clients = clients(port, &stop);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        manager.signal(Signal::TERM);
        manager.until_ended();
        assert!(exists(&manager.path("check.sock")), "the path of a kept socket stays");
        manager.start();
    }
    assert_eq!(status_of(UnixStream::connect(manager.path("check.sock")).unwrap(), "/health"), Some(200));
    stop.store(true, Ordering::Relaxed);
    let (failed, answered) = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .fold((0, 0), |(failed, answered), (f, a)| (failed + f, answered + a));
    assert!(failed == 0 && answered > 100, "{failed} of {answered} got no answer\n{}", manager.log());
    assert_eq!(ask(port, "/v1/check/slow/k"), Some(429));
}

#[test]
fn a_process_that_is_killed_leaves_its_buckets_to_the_next() {
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    manager.start();
    assert_eq!(ask(port, "/v1/check/slow/k?cost=10"), Some(200));
    for _ in 0..2 {
        manager.signal(Signal::KILL);
        manager.until_ended();
        assert!(!exists(&manager.path("state/buckets.snapshot")), "only the memory can have it");
        manager.start();
        assert_eq!(ask(port, "/v1/check/slow/k"), Some(429), "{}", manager.log());
    }
    let tables = manager.kept_names().into_iter().filter(|name| name.starts_with("table")).count();
    assert_eq!(tables, 1, "the memory of former processes is let go");
}

#[test]
fn memory_that_is_no_table_or_of_another_key_is_refused_in_words() {
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    manager.start();
    assert_eq!(ask(port, "/v1/check/slow/k?cost=10"), Some(200));
    manager.signal(Signal::KILL);
    manager.until_ended();
    std::fs::remove_file(manager.path("state/hash.key")).unwrap();
    manager.kept.push(("table-forged".to_owned(), tempfile::tempfile().unwrap().into()));
    manager.start();
    assert_eq!(ask(port, "/v1/check/slow/k"), Some(200));
    let log = manager.log();
    assert!(log.contains("table-forged") && log.contains("cannot be mapped"), "{log}");
    assert!(log.contains("another cluster secret or hash key"), "{log}");
}

#[test]
fn sockets_of_units_are_used_and_not_kept_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut manager = Manager::new(&config(port, ""));
    manager.kept.push(socket_unit("openclaw-rating.socket", listener));
    manager.start();
    assert_eq!(ask(port, "/health"), Some(200));
    let listeners: Vec<String> =
        manager.kept_names().into_iter().filter(|name| name.starts_with("listener")).collect();
    assert_eq!(listeners, ["listener-unix_check.sock"]);
}

#[test]
fn a_socket_that_does_not_fit_the_configuration_is_named_and_the_server_starts() {
    let stray = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stray.local_addr().unwrap().to_string();
    let port = free_port();
    let mut manager = Manager::new(&config(port, ""));
    let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    manager.kept.push(socket_unit("stray.socket", stray));
    manager.kept.push(socket_unit("datagram.socket", datagram));
    manager.start();
    assert_eq!(ask(port, "/health"), Some(200));
    let log = manager.log();
    assert!(log.contains(&address) && log.contains("[server] listen does not name it"), "{log}");
    assert!(log.contains("datagram.socket") && log.contains("ListenStream="), "{log}");
}

#[test]
fn fewer_or_more_threads_after_a_restart_lose_no_connection_that_waits() {
    let port = free_port();
    let text = config(port, "");
    let mut manager = Manager::new(&text);
    manager.start();
    for threads in ["threads = 1", "threads = 3"] {
        manager.signal(Signal::TERM);
        manager.until_ended();
        // These wait in the queues of the kept sockets until somebody accepts.
        let waiting: Vec<TcpStream> =
            (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
        let changed = text.replace("threads = 2", threads);
        std::fs::write(manager.path("openclaw-rating.toml"), changed).unwrap();
        manager.start();
        let until = Instant::now() + Duration::from_secs(20);
        for stream in waiting {
            stream.set_read_timeout(Some(until - Instant::now())).unwrap();
            assert_eq!(status_of(stream, "/health"), Some(200));
        }
    }
}
