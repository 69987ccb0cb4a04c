//! Clients of the public name, which resolve it anew for each request, and what is noted of them.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::common::dns::NAME;
use crate::common::namespace::Namespace;

/// So many ask, each on its own: one that waits for a dead server stops no other.
const ASKING: usize = 4;
/// Between two requests of one of them.
const PACE: Duration = Duration::from_millis(80);
/// Between two looks at the record.
const LOOK: Duration = Duration::from_millis(10);
/// For the name, for the connection, and for each read of the answer: longer than a busy machine stands still.
const PATIENCE: Duration = Duration::from_secs(2);
/// How nice the agent's threads are: the lag that matters is theirs.
const NICENESS: i32 = 5;
/// A sleep that ends so late is the timer's, not the machine's.
const USUAL_LAG: Duration = Duration::from_millis(1);

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    /// Where the name led.
    pub(crate) address: Option<IpAddr>,
    /// What went wrong; nothing when it was answered by 200 or 429.
    pub(crate) wrong: Option<String>,
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

/// Threads that ask, look at the record, and sleep, until this is dropped.
pub(crate) struct Clients {
    notes: Arc<Mutex<Notes>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// On `host`: they ask `dns` for the name and `port` there for a check.
    pub(crate) fn start(host: &Namespace, dns: SocketAddr, port: u16) -> Self {
        let mut clients = Self { notes: Arc::default(), stop: Arc::default(), threads: vec![] };
        for _ in 0..ASKING {
            clients.repeat(host, 0, PACE, move |notes| ask(notes, dns, port));
        }
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
        let good = |request: &&Request| request.wrong.is_none() && request.address == Some(address);
        self.requests.iter().filter(good).map(|request| request.ended).max()
    }

    /// When the record showed `address` for the first time after `since`.
    pub(crate) fn shown_after(&self, since: Instant, address: IpAddr) -> Option<Instant> {
        let is_it = |(at, value): &&(Instant, IpAddr)| *at > since && *value == address;
        self.values.iter().find(is_it).map(|(at, _)| *at)
    }

    /// What went wrong with requests that began between the two and have ended, and how many there were. What
    /// began after the record had moved, resolved the name after that, too.
    pub(crate) fn wrong(&self, from: Instant, until: Instant) -> (Vec<String>, usize) {
        let between = self.requests.iter().filter(|request| from < request.begun && request.begun <= until);
        let wrong = between.clone().filter_map(|request| {
            let (why, after) = (request.wrong.as_ref()?, request.begun.duration_since(from));
            Some(format!("after {after:.2?} at {:?}: {why}", request.address))
        });
        (wrong.collect(), between.count())
    }

    /// How long threads that wanted to run did not between the two, one after the other.
    pub(crate) fn lag(&self, from: Instant, until: Instant) -> Duration {
        self.lags.iter().filter(|(at, _)| from < *at && *at <= until).map(|(_, lag)| *lag).sum()
    }
}

fn ask(notes: &Mutex<Notes>, dns: SocketAddr, port: u16) {
    let begun = Instant::now();
    let address = resolve(dns);
    let answered = match address {
        Some(address) => check(SocketAddr::new(address, port)).map_err(|error| error.to_string()),
        None => Err("the name was not resolved".to_owned()),
    };
    let wrong = answered.map_or_else(Some, |answer| (!is_good(&answer)).then_some(answer));
    notes.lock().unwrap().requests.push(Request { begun, ended: Instant::now(), address, wrong });
}

/// The whole answer to a check.
fn check(server: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /v1/check/api/client HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn is_good(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 429")
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
