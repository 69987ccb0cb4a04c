//! Clients of the public name, which resolve it anew for each request, and what is noted of them.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dns::NAME;
use crate::namespace::Namespace;

/// Between two requests.
const PACE: Duration = Duration::from_millis(20);
/// Between two looks at the record.
const LOOK: Duration = Duration::from_millis(10);
/// For the name, for the connection, and for each read of the answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// How nice the agent's threads are: the lag that matters is theirs.
const NICENESS: i32 = 5;
/// A sleep that ends so late is the timer's, not the machine's.
const USUAL_LAG: Duration = Duration::from_millis(1);

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ended: Instant,
    /// Where the name led.
    pub(crate) address: Option<IpAddr>,
    /// Whether it was answered, by 200 or 429.
    pub(crate) is_good: bool,
}

/// What was noted since the start.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) requests: Vec<Request>,
    /// Each value that the record had, and since when it showed.
    pub(crate) values: Vec<(Instant, IpAddr)>,
    /// When a thread that only sleeps woke late, and by how much.
    lags: Vec<(Instant, Duration)>,
}

/// Threads that ask, look and sleep until this is dropped.
pub(crate) struct Clients {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// On `host`: they ask `dns` for the name and `port` there for a check.
    pub(crate) fn start(host: &Namespace, dns: SocketAddr, port: u16) -> Self {
        let mut clients = Self { notes: Arc::default(), stop: Arc::default(), threads: vec![] };
        clients.repeat(host, 0, PACE, move |notes| ask(notes, dns, port));
        clients.repeat(host, 0, LOOK, move |notes| look(notes, dns));
        clients.repeat(host, NICENESS, Duration::ZERO, sleep);
        clients
    }

    fn repeat(
        &mut self,
        host: &Namespace,
        niceness: i32,
        pace: Duration,
        mut act: impl FnMut(&Mutex<Notes>) + Send + 'static,
    ) {
        let (network, notes, stop) = (host.network(), Arc::clone(&self.notes), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            network.enter();
            rustix::process::nice(niceness).unwrap();
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                act(&notes);
                due = (due + pace).max(Instant::now());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }));
    }

    pub(crate) fn noted<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.notes.lock().unwrap())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Notes {
    /// When `address` answered last.
    pub(crate) fn last_good_of(&self, address: IpAddr) -> Option<Instant> {
        let good = |request: &&Request| request.is_good && request.address == Some(address);
        self.requests.iter().rev().find(good).map(|request| request.ended)
    }

    /// When the record showed `address` for the first time after `since`.
    pub(crate) fn shown_after(&self, since: Instant, address: IpAddr) -> Option<Instant> {
        let is_it = |(at, value): &&(Instant, IpAddr)| *at > since && *value == address;
        self.values.iter().find(is_it).map(|(at, _)| *at)
    }

    /// Requests that failed, and all, of those that ended between the two.
    pub(crate) fn failed(&self, from: Instant, until: Instant) -> (usize, usize) {
        let between = self.requests.iter().filter(|request| from < request.ended && request.ended <= until);
        between.fold((0, 0), |(bad, all), request| (bad + usize::from(!request.is_good), all + 1))
    }

    /// How long threads that wanted to run did not between the two, one after the other.
    pub(crate) fn lag(&self, from: Instant, until: Instant) -> Duration {
        self.lags.iter().filter(|(at, _)| from < *at && *at <= until).map(|(_, lag)| *lag).sum()
    }
}

fn ask(notes: &Mutex<Notes>, dns: SocketAddr, port: u16) {
    let address = resolve(dns);
    let is_good = address.is_some_and(|address| is_answered(SocketAddr::new(address, port)));
    notes.lock().unwrap().requests.push(Request { ended: Instant::now(), address, is_good });
}

fn is_answered(server: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&server, PATIENCE) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let asked =
        stream.write_all(b"GET /v1/check/api/client HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let is_whole = asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok();
    is_whole && (answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 429"))
}

fn look(notes: &Mutex<Notes>, dns: SocketAddr) {
    let Some(address) = resolve(dns) else { return };
    let mut notes = notes.lock().unwrap();
    if notes.values.last().is_none_or(|(_, last)| *last != address) {
        notes.values.push((Instant::now(), address));
    }
}

fn sleep(notes: &Mutex<Notes>) {
    let (begun, wanted) = (Instant::now(), Duration::from_millis(5));
    std::thread::sleep(wanted);
    let lag = begun.elapsed().saturating_sub(wanted + USUAL_LAG);
    if !lag.is_zero() {
        notes.lock().unwrap().lags.push((Instant::now(), lag));
    }
}

/// The first address of the name; a datagram that is lost is sent once more.
fn resolve(dns: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let question = question();
    (0..2).find_map(|_| {
        socket.send_to(&question, dns).ok()?;
        let mut answer = [0; 512];
        let (length, _) = socket.recv_from(&mut answer).ok()?;
        first_address(&answer[..length], question.len())
    })
}

/// A question for the addresses of [`NAME`], RFC 1035.
fn question() -> Vec<u8> {
    let mut question = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in NAME.split('.') {
        question.push(label.len() as u8);
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    question
}

/// The answers follow the question; the first is an address when its name is a pointer and its type is A.
fn first_address(answer: &[u8], question: usize) -> Option<IpAddr> {
    let count = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let record = answer.get(question..question + 16)?;
    let is_address = count > 0 && record[0] & 0xc0 == 0xc0 && record[2..6] == [0, 1, 0, 1];
    let [.., a, b, c, d] = record else { return None };
    is_address.then(|| Ipv4Addr::new(*a, *b, *c, *d).into())
}
