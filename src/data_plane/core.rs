//! One data thread: a loop of turns over its ring.
//!
//! A turn reaps all completions, lets each connection step over what arrived, and hands the kernel
//! one send a connection and all else that is due in one system call. Input is in `input.rs`, output
//! in `output.rs`, the life of connections in `life.rs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Sender;

use super::connection::Connection;
use super::listener::Listener;
use super::mailbox::{Mailbox, Phase, RenderRequest};
use super::pages::PageQueue;
use super::places::places_for;
use super::service::{Service, Turn};
use super::storage::{HeldBuffers, PartialPool};
use super::{CoreLimits, DataPlaneError};
use crate::ring::{
    Completion, DirectFile, Operation, RECEIVE_BUFFERS, RECEIVE_BYTES, ReceiveBuffers, Ring, RingConfig,
    SendBuffers,
};
use crate::time::{Clock, MonotonicNs};

/// Time-outs are looked at this often; the loop wakes at least as often.
const SWEEP: Duration = Duration::from_millis(250);
/// Bytes of one send buffer: the largest answer and room for many small ones.
const SEND_BYTES: usize = 64 * 1024;
/// Most incomplete requests at one time.
const MAX_PARTIALS: u32 = 4096;

/// A data thread's state.
pub(super) struct Core<S: Service, C> {
    pub(super) ring: Ring,
    pub(super) receives: ReceiveBuffers,
    pub(super) sends: SendBuffers,
    pub(super) partials: PartialPool,
    pub(super) held: HeldBuffers,
    pub(super) connections: Vec<Connection<S::Connection>>,
    /// When each connection has waited long enough; apart, so that a sweep is a scan of words.
    pub(super) deadlines: Vec<u64>,
    /// Connections with something to send at the end of the turn.
    pub(super) to_send: Vec<u32>,
    /// Connections whose receive ended for want of buffers.
    pub(super) starved: Vec<u32>,
    /// Room to sort those in that hold many.
    pub(super) hoarders: Vec<u32>,
    pub(super) listeners: Vec<Listener>,
    /// Listeners whose accept ended, to be taken up again once there is a place, after an error at the next sweep.
    pub(super) stopped_listeners: Vec<u32>,
    /// Listeners that the kernel accepts from; what they bring is not lost when the thread ends.
    pub(super) accepting: u32,
    /// Places taken.
    pub(super) open: u32,
    /// Connections that are served; the others are turned away or on their way out.
    pub(super) served: u32,
    /// Connections of all threads together, without those that are turned away.
    pub(super) open_everywhere: Arc<AtomicU32>,
    pub(super) service: S,
    pub(super) limits: CoreLimits,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) render: Sender<RenderRequest>,
    pub(super) pages: PageQueue,
    pub(super) number: usize,
    pub(super) now: MonotonicNs,
    pub(super) answered: u64,
    pub(super) deciding_ns: u64,
    pub(super) draining: bool,
    pub(super) clock: C,
}

/// What a data thread is made of, beside its limits.
pub(super) struct CoreParts<S, C> {
    pub(super) number: usize,
    pub(super) service: S,
    pub(super) clock: C,
    pub(super) listeners: Vec<Listener>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) render: Sender<RenderRequest>,
    pub(super) open_everywhere: Arc<AtomicU32>,
}

impl<S: Service, C: Clock> Core<S, C> {
    /// Allocates everything; to be called on the thread that runs it.
    pub(super) fn new(limits: CoreLimits, parts: CoreParts<S, C>) -> Result<Self, DataPlaneError> {
        const { assert!(S::MAX_ANSWER_BYTES <= SEND_BYTES) };
        let places = places_for(limits.connections);
        let mut ring = Ring::new(RingConfig::of_connections(places, limits.threads))?;
        let receives = ring.receive_buffers(RECEIVE_BUFFERS, RECEIVE_BYTES)?;
        let partial_bytes = parts.service.max_request_bytes() + RECEIVE_BYTES;
        let mut connections = Vec::new();
        connections.resize_with(places as usize, Connection::default);
        let (sends, partials) = (places * 2, places.min(MAX_PARTIALS));
        let bytes = sends as usize * SEND_BYTES + partials as usize * partial_bytes;
        let no_memory = |source| DataPlaneError::Memory { bytes, source };
        Ok(Self {
            sends: ring.send_buffers(sends, SEND_BYTES).map_err(no_memory)?,
            partials: PartialPool::new(partials, partial_bytes).map_err(no_memory)?,
            held: HeldBuffers::new(receives.count()),
            ring,
            receives,
            connections,
            deadlines: vec![u64::MAX; places as usize],
            to_send: Vec::with_capacity(places as usize),
            starved: Vec::with_capacity(places as usize),
            hoarders: Vec::with_capacity(places as usize),
            stopped_listeners: Vec::with_capacity(parts.listeners.len()),
            listeners: parts.listeners,
            accepting: 0,
            open: 0,
            served: 0,
            open_everywhere: parts.open_everywhere,
            service: parts.service,
            limits,
            mailbox: parts.mailbox,
            render: parts.render,
            pages: PageQueue::new(places as usize),
            number: parts.number,
            now: parts.clock.now(),
            answered: 0,
            deciding_ns: 0,
            draining: false,
            clock: parts.clock,
        })
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// When the ring itself fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.ring.poll_readable(&*self.mailbox, 0);
        for index in 0..self.listeners.len() {
            self.accept(index as u32);
        }
        let mut next_sweep = self.now;
        loop {
            if self.now >= next_sweep {
                self.sweep();
                next_sweep = self.now.after(SWEEP);
            }
            self.ask_for_page();
            self.send_queued();
            self.relieve();
            self.receive_for_starved();
            self.end_turn();
            let drained = self.draining && self.open == 0 && self.accepting == 0;
            if drained || self.mailbox.phase() == Phase::Stopping {
                return Ok(());
            }
            self.ring.wait(SWEEP)?;
            self.now = self.clock.now();
            self.answered = 0;
            self.deciding_ns = 0;
            while let Some(completion) = self.ring.completion() {
                self.dispatch(completion);
            }
        }
    }

    fn accept(&mut self, listener: u32) {
        self.accepting += 1;
        let socket = &self.listeners[listener as usize];
        // The kernel drops whom it has no place for, so that with many at once nobody could tell them why.
        if self.open < self.limits.connections {
            self.ring.accept_multishot(socket, listener);
        } else {
            self.ring.accept_once(socket, listener);
        }
    }

    /// Accepts again where that ended, as far as there is a place for each who may come.
    pub(super) fn accept_again(&mut self) {
        while self.open + self.accepting < self.connections.len() as u32
            && let Some(listener) = self.stopped_listeners.pop()
        {
            self.accept(listener);
        }
    }

    fn dispatch(&mut self, completion: Completion) {
        let index = completion.index();
        match completion.operation() {
            Operation::Accept => self.accepted(index, &completion),
            Operation::Receive => self.received(index, completion),
            Operation::Send => self.sent(index, completion),
            Operation::Close => self.closed(),
            Operation::Poll => self.woken(completion.goes_on()),
            Operation::Shutdown => self.shut_down(index),
            Operation::Cancel => self.cancelled(index, &completion),
            // A server connects to nobody.
            Operation::Connect => {}
        }
    }

    fn end_turn(&mut self) {
        let (began, answered, deciding_ns) = (self.now, self.answered, self.deciding_ns);
        let ended = if answered == 0 { began } else { self.clock.now() };
        self.service.turn_ended(Turn { began, deciding_ns, ended, answered });
    }

    fn woken(&mut self, goes_on: bool) {
        self.mailbox.awake();
        if !goes_on {
            self.ring.poll_readable(&*self.mailbox, 0);
        }
        if let Some(policies) = self.mailbox.policies() {
            self.service.set_policies(policies);
        }
        while let Some(reply) = self.mailbox.reply() {
            self.page_rendered(&reply);
        }
        if self.mailbox.phase() >= Phase::Draining && !self.draining {
            self.start_draining();
        }
    }

    pub(super) fn sweep(&mut self) {
        // A wall clock before 1970 is as good as none.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.service.set_wall_clock(unix.as_secs());
        self.accept_again();
        for index in 0..self.deadlines.len() {
            if self.deadlines[index] <= self.now.0 {
                self.expired(index as u32);
            }
        }
    }

    pub(super) fn file(index: u32) -> DirectFile {
        DirectFile(index)
    }
}
