//! What a connection talks to: bytes in, bytes out, no IO.

use std::sync::Arc;

use crate::bucket::policy::PolicySet;
use crate::time::MonotonicNs;

/// How far one step over a connection's input came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    /// Bytes of the output that were written.
    pub written: usize,
    /// Requests answered; one that awaits the metrics page is not yet.
    pub answered: u32,
    /// What is needed to go on.
    pub next: Next,
}

/// What a connection needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More input; what was not consumed begins a request.
    NeedInput,
    /// Room for an answer.
    NeedOutputSpace,
    /// The metrics page, for [`Service::finish_metrics`].
    AwaitMetrics,
    /// Nothing more: send what was written and close.
    Close,
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many connections as there may be.
    Connections,
    /// There is no room for one more request that comes in parts.
    PartialRequests,
    /// There is no metrics page to be had.
    Metrics,
}

/// What happened to connections, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was accepted.
    Opened,
    /// A connection is gone.
    Closed,
    /// A connection was turned away, for want of room.
    Refused,
    /// Bytes arrived.
    Received(usize),
    /// Bytes left.
    Sent(usize),
}

/// One turn of the loop.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// When its completions were reaped.
    pub began: MonotonicNs,
    /// Nanoseconds spent in steps that answered something.
    pub deciding_ns: u64,
    /// When its answers were handed to the kernel.
    pub ended: MonotonicNs,
    /// Requests answered.
    pub answered: u64,
}

/// The protocol and the application of a server, one value a core.
pub trait Service {
    /// What is remembered of a connection between steps; small.
    type Connection: Default;

    /// Room that any single answer needs; [`Service::step`] is never called with less.
    const MAX_ANSWER_BYTES: usize;

    /// Most bytes of one request; what is kept of an incomplete one.
    fn max_request_bytes(&self) -> usize;

    /// Answers as many complete requests of `input` as fit, in order.
    fn step(
        &mut self,
        connection: &mut Self::Connection,
        input: &[u8],
        output: &mut [u8],
        now: MonotonicNs,
    ) -> Step;

    /// Whether the head of a request is complete and its body is not.
    fn reads_body(&self, connection: &Self::Connection) -> bool;

    /// Writes the head of the metrics page, whose `body_bytes` the caller sends next. Returns the
    /// bytes written, and whether the connection ends after the page.
    fn finish_metrics(
        &mut self,
        connection: &mut Self::Connection,
        body_bytes: usize,
        output: &mut [u8],
    ) -> (usize, bool);

    /// Writes what a client is told whose request did not arrive in time; `input` is what did arrive.
    fn timed_out(&mut self, connection: &mut Self::Connection, input: &[u8], output: &mut [u8]) -> usize;

    /// Writes what a client is told for whom there is no room; `input` is what arrived of its request, and is
    /// not used up.
    fn refuse(&mut self, refusal: Refusal, input: &[u8], output: &mut [u8]) -> usize;

    /// Puts policies in force.
    fn set_policies(&mut self, policies: Arc<PolicySet>);

    /// Tells the wall clock, about once a second.
    fn set_wall_clock(&mut self, unix_seconds: u64);

    /// Counts.
    fn observe(&mut self, event: Event);

    /// Takes note of a turn; called at least four times a second.
    fn turn_ended(&mut self, turn: Turn);
}
