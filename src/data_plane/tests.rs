//! Turns that no client can bring about at will, gone through by hand.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::connection::{Connection, Stage};
use super::*;
use crate::ring::{Completion, DirectFile, Operation};
use crate::time::{ManualClock, MonotonicNs};

const PLACE: u32 = 0;

/// Answers each line with `answered`, but for those that are empty; `page` asks for the metrics page.
struct Lines;

impl Service for Lines {
    type Connection = ();

    const MAX_ANSWER_BYTES: usize = 64;

    fn max_request_bytes(&self) -> usize {
        64
    }

    fn step(&mut self, (): &mut (), input: &[u8], output: &mut [u8], _: MonotonicNs) -> Step {
        let mut step = Step { consumed: 0, written: 0, answered: 0, next: Next::NeedInput };
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return step };
        step.consumed = end + 1;
        match &input[..end] {
            b"" | b"\r" => {}
            b"page" => step.next = Next::AwaitMetrics,
            _ => {
                output[..9].copy_from_slice(b"answered\n");
                (step.written, step.answered) = (9, 1);
            }
        }
        step
    }

    fn reads_body(&self, (): &()) -> bool {
        false
    }

    fn finish_metrics(&mut self, (): &mut (), _: usize, _: &mut [u8]) -> (usize, bool) {
        (0, false)
    }

    fn timed_out(&mut self, (): &mut (), _: &[u8], _: &mut [u8]) -> usize {
        0
    }

    fn refuse(&mut self, refusal: Refusal, _: &[u8], output: &mut [u8]) -> usize {
        let text = format!("{refusal:?}");
        output[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    }

    fn set_policies(&mut self, _: Arc<PolicySet>) {}

    fn set_wall_clock(&mut self, _: u64) {}

    fn observe(&mut self, _: Event) {}

    fn turn_ended(&mut self, _: Turn) {}
}

/// A data thread with one open connection, its other end, and a control plane that is gone.
fn core_and_client() -> (Core<Lines, Arc<ManualClock>>, UnixStream) {
    let limits = CoreLimits {
        threads: 1,
        connections: 1,
        all_connections: 1,
        idle_timeout: Duration::from_secs(1),
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        write_timeout: Duration::from_secs(1),
    };
    let (render, _) = bounded(1);
    let parts = CoreParts {
        number: 0,
        service: Lines,
        clock: Arc::new(ManualClock::default()),
        listeners: Vec::new(),
        mailbox: Arc::new(Mailbox::new().unwrap()),
        render,
        open_everywhere: Arc::default(),
    };
    let mut core = Core::new(limits, parts).unwrap();
    let (ours, client) = UnixStream::pair().unwrap();
    core.ring.adopt(DirectFile(PLACE), &ours).unwrap();
    core.connections[0] = Connection { stage: Stage::Open, ..Connection::default() };
    core.open = 1;
    core.start_receive(PLACE);
    (core, client)
}

fn next(core: &mut Core<Lines, Arc<ManualClock>>) -> Completion {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(completion) = core.ring.completion() {
            return completion;
        }
        assert!(Instant::now() < until, "nothing completed");
        core.ring.wait(Duration::from_millis(50)).unwrap();
    }
}

#[test]
fn a_request_held_behind_an_incomplete_one_is_stepped_over_though_that_one_had_no_answer() {
    let (mut core, mut client) = core_and_client();
    for piece in ["\r", "\n", "ask\n"] {
        client.write_all(piece.as_bytes()).unwrap();
        let completion = next(&mut core);
        let received = core.receives.take(completion).unwrap();
        core.held.push(&mut core.connections[0].held, received);
    }
    core.pump(PLACE);
    assert_eq!(core.answered, 1);
    assert!(!core.connections[0].has_input());
}

#[test]
fn whoever_asks_for_the_page_is_told_at_once_that_nobody_can_make_it() {
    let (mut core, mut client) = core_and_client();
    client.write_all(b"page\n").unwrap();
    let completion = next(&mut core);
    core.received(PLACE, completion);
    assert!(core.connections[0].awaits_metrics);
    core.ask_for_page();
    core.send_queued();
    core.ring.wait(Duration::ZERO).unwrap();
    let mut answer = [0; 7];
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"Metrics");
    assert_eq!(core.connections[0].stage, Stage::Finishing);
}

/// Has the client send a byte and waits until it is thrown away.
fn send_on(core: &mut Core<Lines, Arc<ManualClock>>, client: &mut UnixStream) {
    client.write_all(b"x").unwrap();
    loop {
        let completion = next(core);
        if completion.operation() == Operation::Receive {
            return core.received(PLACE, completion);
        }
        core.shut_down(PLACE);
    }
}

#[test]
fn who_is_still_sending_is_waited_for_as_long_as_a_body_may_take() {
    // With a client that sends all the time: after how many half seconds it is waited for no more.
    for (is_served, draining, halves) in [(true, false, 6), (false, false, 2), (true, true, 2)] {
        let (mut core, mut client) = core_and_client();
        core.limits.body_timeout = Duration::from_secs(3);
        core.draining = draining;
        core.connections[0].is_served = is_served;
        core.served = u32::from(is_served);
        core.open_everywhere.store(core.served, Ordering::Relaxed);
        core.finish(PLACE);
        core.linger_if_done(PLACE);
        for half in 1..=halves {
            assert_eq!(core.connections[0].stage, Stage::Lingering, "{half} of {halves}");
            send_on(&mut core, &mut client);
            core.now = MonotonicNs(0).after(half * Duration::from_millis(500));
            core.sweep();
        }
        assert_ne!(core.connections[0].stage, Stage::Lingering, "{halves}");
    }
}
