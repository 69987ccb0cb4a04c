//! One thread of the generator: a ring, connections, and a loop of turns.
//!
//! A turn reaps all completions, writes the requests that are due to the connections that have room,
//! and hands the kernel one send a connection in one system call. Requests and answers are in
//! `traffic.rs`, the life of connections in `life.rs`, the state of one in `connection.rs`.

mod connection;
mod life;
mod traffic;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::connection::{Connection, Stage};
use super::error::LoadError;
use super::keys::KeySequence;
use super::plan::Plan;
use super::record::Record;
use super::request::RequestTemplate;
use super::schedule::{Due, Pace, Schedule};
use crate::ring::{
    Completion, Destination, DirectFile, Operation, RECEIVE_BUFFERS, RECEIVE_BYTES, ReceiveBuffers, Ring,
    RingConfig, SendBuffers,
};
use crate::time::{Clock, MonotonicNs, SystemClock};

/// Time-outs and attempts to connect are looked at this often; the loop wakes at least as often.
const SWEEP: Duration = Duration::from_millis(20);
/// How often an interval's record is handed over.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long answers are waited for when a run is stopped by hand.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of one send buffer: the longest request and room for many common ones.
const SEND_BYTES: usize = 16 * 1024;

/// What a worker has done when it ends.
#[derive(Debug)]
pub(super) struct WorkerReport {
    /// What was not handed over before.
    pub(super) record: Record,
    /// Requests that were due and not sent.
    pub(super) unsent: u64,
    /// Requests sent for whose answers nobody waited.
    pub(super) abandoned: u64,
    /// Whether every connection was given up.
    pub(super) gave_up: bool,
    /// When nothing more was to be sent and the last answer had come.
    pub(super) ended: MonotonicNs,
}

/// A worker.
pub(super) struct Worker<'p> {
    ring: Ring,
    receives: ReceiveBuffers,
    sends: SendBuffers,
    plan: &'p Plan,
    number: u32,
    destination: Destination,
    request: RequestTemplate,
    keys: KeySequence,
    schedule: Schedule,
    connections: Vec<Connection>,
    /// Connections that may have room for a request.
    with_room: VecDeque<u32>,
    /// Connections with something to send at the end of the turn.
    to_send: Vec<u32>,
    /// Connections whose receive ended for want of buffers.
    starved: Vec<u32>,
    /// Requests without an answer, on all connections.
    pending: u64,
    given_up: u32,
    record: Record,
    now: MonotonicNs,
    last_activity: MonotonicNs,
    clock: SystemClock,
}

impl<'p> Worker<'p> {
    /// Allocates everything; to be called on the thread that runs it.
    pub(super) fn new(
        plan: &'p Plan,
        number: u32,
        destination: Destination,
        clock: SystemClock,
    ) -> Result<Self, LoadError> {
        let settings = plan.settings();
        let count = plan.connections_of(number);
        let mut ring = Ring::new(RingConfig::of_connections(count, settings.threads as usize))?;
        let now = clock.now();
        Ok(Self {
            receives: ring.receive_buffers(RECEIVE_BUFFERS, RECEIVE_BYTES)?,
            sends: ring.send_buffers(count, SEND_BYTES).map_err(LoadError::Memory)?,
            ring,
            plan,
            number,
            destination,
            request: RequestTemplate::new(settings),
            keys: KeySequence::new(settings.distribution, settings.keys, settings.seed, number),
            // Nothing is due before the start.
            schedule: Schedule::new(now, None, None, 0),
            connections: (0..count).map(|_| Connection::new(settings.pipeline)).collect(),
            with_room: VecDeque::with_capacity(count as usize),
            to_send: Vec::with_capacity(count as usize),
            starved: Vec::new(),
            pending: 0,
            given_up: 0,
            record: Record::new(),
            now,
            last_activity: now,
            clock,
        })
    }

    /// Makes the connections. Returns when each is made or has failed once, or on `stop`.
    ///
    /// # Errors
    /// When the ring itself fails.
    pub(super) fn connect_all(&mut self, stop: &AtomicBool) -> Result<(), LoadError> {
        (0..self.connections.len()).for_each(|index| self.connect(index as u32));
        let undecided = |c: &Connection| matches!(c.stage, Stage::Connecting(_)) && c.failures == 0;
        while self.connections.iter().any(undecided) && !stop.load(Ordering::Relaxed) {
            // The kernel hands over a few connections a turn. None is called late while others are still handed over.
            if !self.turn(SWEEP)? {
                self.sweep();
            }
        }
        Ok(())
    }

    /// Sends what is due from `start` on until nothing more is, and waits for the answers. An
    /// interval's record goes to `hand_over` about once a second, and comes back if it is not wanted.
    ///
    /// # Errors
    /// When the ring itself fails.
    pub(super) fn run(
        mut self,
        start: MonotonicNs,
        stop: &AtomicBool,
        mut hand_over: impl FnMut(Record) -> Option<Record>,
    ) -> Result<WorkerReport, LoadError> {
        self.start(start);
        let (mut next_sweep, mut next_interval) = (start, start.after(INTERVAL));
        let mut give_up_at = None;
        loop {
            if self.now >= next_sweep {
                if give_up_at.is_none() && stop.load(Ordering::Relaxed) {
                    self.schedule.stop(self.now);
                    give_up_at = Some(self.now.after(STOP_PATIENCE));
                }
                self.sweep();
                next_sweep = self.now.after(SWEEP);
            }
            if self.now >= next_interval {
                let interval = std::mem::take(&mut self.record);
                self.record = hand_over(interval).unwrap_or_default();
                next_interval = next_interval.after(INTERVAL).max(self.now);
            }
            self.fill();
            self.send_written();
            if self.is_done() || give_up_at.is_some_and(|at| self.now >= at) {
                return Ok(self.report());
            }
            self.turn(self.patience(next_sweep))?;
        }
    }

    fn start(&mut self, start: MonotonicNs) {
        let settings = self.plan.settings();
        let pace = |rate| Pace { rate, first: self.number, stride: settings.threads };
        let limit = self.plan.requests_of(self.number);
        self.schedule = Schedule::new(start, settings.duration, settings.rate.map(pace), limit);
        self.now = self.clock.now().max(start);
        self.last_activity = start;
    }

    /// Waits for completions, at most `patience`, and follows them up; whether there were any.
    fn turn(&mut self, patience: Duration) -> Result<bool, LoadError> {
        self.ring.wait(patience).map_err(LoadError::Wait)?;
        self.now = self.clock.now();
        let mut is_followed = false;
        while let Some(completion) = self.ring.completion() {
            self.dispatch(completion);
            is_followed = true;
        }
        self.receive_for_starved();
        // What is written next is sent at this time, not when the answers before it arrived.
        self.now = self.clock.now();
        Ok(is_followed)
    }

    fn dispatch(&mut self, completion: Completion) {
        let index = completion.index();
        match completion.operation() {
            Operation::Connect => self.connected(index, &completion),
            Operation::Receive => self.received(index, completion),
            Operation::Send => self.sent(index, completion),
            Operation::Close => self.closed(index),
            // Nothing follows a cancellation but the end of what was cancelled; the others are a server's.
            Operation::Cancel | Operation::Accept | Operation::Shutdown | Operation::Poll => {}
        }
    }

    /// How long there is nothing to do unless something completes.
    fn patience(&self, next_sweep: MonotonicNs) -> Duration {
        let until = match self.schedule.due(self.now) {
            Due::At(due) => due.min(next_sweep),
            Due::Now(_) | Due::Never => next_sweep,
        };
        Duration::from_nanos(until.since(self.now))
    }

    fn is_done(&self) -> bool {
        let all_given_up = self.given_up as usize == self.connections.len();
        self.pending == 0 && (all_given_up || self.schedule.is_over(self.now))
    }

    fn report(self) -> WorkerReport {
        WorkerReport {
            unsent: self.schedule.unsent(self.now),
            abandoned: self.pending,
            gave_up: self.given_up as usize == self.connections.len(),
            ended: self.last_activity.max(self.schedule.sending_ended(self.now)),
            record: self.record,
        }
    }

    const fn file(index: u32) -> DirectFile {
        DirectFile(index)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::load::plan::Settings;

    #[test]
    fn connections_that_were_made_are_not_called_late_since_there_are_many() {
        let connections = 500;
        // The kernel makes them, in the queue of the listener.
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(connections as i32).unwrap();
        // Shorter than it takes to ask for them all.
        let timeout = Duration::from_millis(1);
        let plan = Plan::new(Settings { connections, timeout, ..Settings::default() }).unwrap();
        let destination = Destination::new(listener.local_addr().unwrap());
        let (clock, stop) = (SystemClock::start(), AtomicBool::new(false));
        let mut worker = Worker::new(&plan, 0, destination, clock).unwrap();
        worker.connect_all(&stop).unwrap();
        assert_eq!(worker.record.connected, u64::from(connections), "{:?}", worker.record.first_error());
    }
}
