//! A data plane with a service of lines: each line is answered by itself; `close` ends the connection, `big`
//! answers with 8 KiB, `page` is the metrics page.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::data_plane::{
    DataPlane, DataPlaneConfig, Event, ListenAddr, Next, Refusal, Service, Step, Turn,
};
use openclaw_rating::time::{Clock, MonotonicNs, SystemClock};

const MAX_LINE: usize = 10_000;
pub(crate) const BIG: usize = 8192;

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) open: AtomicI64,
    pub(crate) refused: AtomicU64,
    pub(crate) policies: AtomicU64,
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
            if line == b"page\n" {
                step.next = Next::AwaitMetrics;
                return step;
            }
            step.answered += 1;
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
        // Of a connection too many nothing is read, and a request for the page is used up.
        assert_eq!(refusal == Refusal::PartialRequests, !input.is_empty());
        let answer = if refusal == Refusal::Metrics { b"none\n" } else { b"full\n" };
        output[..5].copy_from_slice(answer);
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

pub(crate) struct Server {
    pub(crate) plane: DataPlane,
    pub(crate) counts: Arc<Counts>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn config() -> DataPlaneConfig {
        DataPlaneConfig {
            listen: vec![ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())],
            threads: 1,
            pin: false,
            max_connections: 1000,
            backlog: 1024,
            idle_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
        }
    }

    pub(crate) fn start(change: impl FnOnce(&mut DataPlaneConfig)) -> Self {
        let mut config = Self::config();
        change(&mut config);
        Self::start_by(SystemClock::start(), &config)
    }

    pub(crate) fn start_by(clock: impl Clock + Clone + Send + 'static, config: &DataPlaneConfig) -> Self {
        let counts = Arc::new(Counts::default());
        let service = |_| Lines { counts: Arc::clone(&counts) };
        let plane = DataPlane::start(config, clock, service).unwrap();
        let tcp = plane.addresses().find_map(|a| match a {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        });
        let address = tcp.unwrap();
        Self { plane, counts, address }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A client whose kernel takes little that the client has not read.
    pub(crate) fn connect_with_little_room(&self) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        // What a connection begins with is promised, also when less is wanted later.
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.address.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Waits until so many connections are open.
    pub(crate) fn until_open(&self, wanted: i64) {
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

pub(crate) fn ask(stream: &mut (impl Read + Write), line: &str) -> String {
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

pub(crate) fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Fills the way to a client that reads nothing, until the server's answers do not fit it any more.
pub(crate) fn stalled_client(server: &Server) -> TcpStream {
    let client = server.connect_with_little_room();
    // Their answers are far more than both ends have room for.
    (&client).write_all("big\n".repeat(1000).as_bytes()).unwrap();
    client
}
