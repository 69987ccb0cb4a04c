//! The yardstick: the data plane's ring code with a service that parses and decides nothing. It finds
//! where requests end and answers each with the same bytes, as many as a real answer has.
//!
//! `cargo run --release --example null_server -- 127.0.0.1:8081`

use std::sync::Arc;
use std::time::Duration;

use openclaw_rating::bucket::policy::PolicySet;
use openclaw_rating::data_plane::{
    DataPlane, DataPlaneConfig, Event, ListenAddr, Next, Refusal, Service, Step, Turn,
};
use openclaw_rating::time::{MonotonicNs, SystemClock};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 114\r\n\
    RateLimit-Policy: \"default\";q=10000000;w=1\r\nRateLimit: \"default\";r=9999999;t=1\r\n\r\n\
    {\"allowed\":true,\"policy\":\"default\",\"limit\":1000000000,\"remaining\":999999999,\"reset_ms\":1,\
    \"retry_after_ms\":0000000}";

/// Answers every request alike.
struct Null;

impl Service for Null {
    type Connection = ();

    const MAX_ANSWER_BYTES: usize = 1024;

    fn max_request_bytes(&self) -> usize {
        64 * 1024
    }

    fn step(&mut self, (): &mut (), input: &[u8], output: &mut [u8], _: MonotonicNs) -> Step {
        let (mut consumed, mut written, mut answered) = (0, 0, 0);
        while let Some(end) = find_end(&input[consumed..]) {
            if output.len() - written < ANSWER.len() {
                return Step { consumed, written, answered, next: Next::NeedOutputSpace };
            }
            consumed += end;
            output[written..written + ANSWER.len()].copy_from_slice(ANSWER.as_bytes());
            written += ANSWER.len();
            answered += 1;
        }
        let full = input.len() - consumed >= self.max_request_bytes();
        Step { consumed, written, answered, next: if full { Next::Close } else { Next::NeedInput } }
    }

    fn reads_body(&self, (): &()) -> bool {
        false
    }

    fn finish_metrics(&mut self, (): &mut (), _: usize, _: &mut [u8]) -> (usize, bool) {
        (0, true)
    }

    fn timed_out(&mut self, (): &mut (), _: &[u8], _: &mut [u8]) -> usize {
        0
    }

    fn refuse(&mut self, _: Refusal, _: &[u8], _: &mut [u8]) -> usize {
        0
    }

    fn set_policies(&mut self, _: Arc<PolicySet>) {}

    fn set_wall_clock(&mut self, _: u64) {}

    fn observe(&mut self, _: Event) {}

    fn turn_ended(&mut self, _: Turn) {}
}

fn find_end(input: &[u8]) -> Option<usize> {
    memchr::memmem::find(input, b"\r\n\r\n").map(|at| at + 4)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let config = DataPlaneConfig {
        listen: vec![ListenAddr::Tcp(address.parse()?)],
        threads: 1,
        pin: true,
        max_connections: 12_000,
        backlog: 4096,
        idle_timeout: Duration::from_secs(600),
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(10),
        write_timeout: Duration::from_secs(10),
    };
    let plane = DataPlane::start(&config, SystemClock::start(), |_| Null)?;
    while !plane.has_failed() {
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
