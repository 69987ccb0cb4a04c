//! What a data thread runs: requests in, answers out.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::batch;
use super::check::Check;
use super::problem::{Problem, kind_of};
use super::render::{DateLine, Envelope, MAX_ANSWER_BYTES, MAX_CHECK_BYTES, Renderer};
use super::route::{CheckRequest, NameBuffers, Route};
use crate::bucket::policy::PolicySet;
use crate::bucket::table::{BucketTable, ChangeLog};
use crate::data_plane::{Event, Next, Refusal, Service, Step, Turn};
use crate::health::Health;
use crate::http::{ConnectionState, Frame, HttpLimits, Method, OutputBuffer, Reject, Request, Status};
use crate::metrics::core::CoreMetrics;
use crate::metrics::latency::CoreHistograms;
use crate::time::MonotonicNs;

/// Pipelined checks that are decided together, so that their cache misses overlap.
const BATCH: usize = 16;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What a service is made of.
#[derive(Debug)]
pub struct ServiceParts {
    /// The buckets, shared by all threads.
    pub table: Arc<BucketTable>,
    /// Where this thread notes which of them it changes, for those who tell peers of it.
    pub log: Option<ChangeLog>,
    /// The policies in force.
    pub policies: Arc<PolicySet>,
    /// What a client may send.
    pub limits: HttpLimits,
    /// This thread's counters.
    pub metrics: Arc<CoreMetrics>,
    /// This thread's histograms.
    pub histograms: CoreHistograms,
    /// What `/health` tells.
    pub health: Arc<Health>,
    /// The region, as `/health` tells it.
    pub region: String,
    /// The version, likewise.
    pub version: &'static str,
}

/// The service of one data thread.
#[derive(Debug)]
pub struct CoreService {
    /// Apart from what changes in a step, which borrows it: a clone in each would have all threads write to one count.
    policies: Arc<PolicySet>,
    answerer: Answerer,
}

/// What turns requests into answers.
#[derive(Debug)]
struct Answerer {
    table: Arc<BucketTable>,
    log: Option<ChangeLog>,
    limits: HttpLimits,
    metrics: Arc<CoreMetrics>,
    histograms: CoreHistograms,
    health: Arc<Health>,
    region: String,
    version: &'static str,
    renderer: Renderer,
    names: NameBuffers,
    /// Bodies that came in chunks are put together here; as large as one may be.
    body: Vec<u8>,
}

/// A check that waits for the others of its batch.
struct Pending<'p> {
    check: Check<'p>,
    deny: Status,
    envelope: Envelope,
}

type PendingChecks<'p> = ArrayVec<Pending<'p>, BATCH>;

/// A request, told apart.
enum Routed<'p> {
    Check(Pending<'p>),
    /// With the status of a denial.
    Batch(Status),
    Health,
    Metrics,
}

/// One step's work: checks that wait, answers so far.
struct Work<'o, 'p> {
    out: OutputBuffer<'o>,
    pending: PendingChecks<'p>,
    now: MonotonicNs,
    consumed: usize,
    answered: u32,
}

impl CoreService {
    /// A service; allocates all it will ever need.
    #[must_use]
    pub fn new(parts: ServiceParts) -> Self {
        let ServiceParts { table, log, policies, limits, metrics, histograms, health, region, version } =
            parts;
        let answerer = Answerer {
            table,
            log,
            limits,
            metrics,
            histograms,
            health,
            region,
            version,
            renderer: Renderer { date: DateLine::at(0) },
            names: NameBuffers::default(),
            body: Vec::with_capacity(limits.max_body_bytes),
        };
        Self { policies, answerer }
    }
}

impl Answerer {
    /// How the request that was taken is answered; `rest` is what is at hand behind it.
    fn envelope(&self, connection: &ConnectionState, request: &Request<'_>, rest: &[u8]) -> Envelope {
        let most = self.limits.max_requests_per_connection;
        let last = most != 0 && connection.requests() >= most;
        let ends = || self.health.is_draining() && !self.has_whole_request(connection, rest);
        Envelope {
            close: !request.head.keep_alive || last || ends(),
            is_http_10: request.head.is_http_10,
            head_only: request.head.method == Method::Head,
        }
    }

    /// Whether `input` begins with a request that could be answered now. While the server drains, whoever sent
    /// several at once gets the answers to all of them, the last of which ends the connection.
    #[cold]
    fn has_whole_request(&self, connection: &ConnectionState, input: &[u8]) -> bool {
        let mut ahead = *connection;
        let blank = ahead.skip_blank_line(input);
        matches!(ahead.next_request(&input[blank..], &self.limits), Ok(Frame::Complete(_)))
    }

    /// Takes one request; what the connection needs when there is none, or when it was the last.
    #[inline]
    fn next_request<'p>(
        &mut self,
        connection: &mut ConnectionState,
        input: &[u8],
        policies: &'p PolicySet,
        work: &mut Work<'_, 'p>,
    ) -> Option<Next> {
        work.consumed += connection.skip_blank_line(&input[work.consumed..]);
        let request = match connection.next_request(&input[work.consumed..], &self.limits) {
            Ok(Frame::Complete(request)) => request,
            Ok(Frame::Partial) => return Some(Next::NeedInput),
            Ok(Frame::AwaitsContinue) => {
                self.answer(work);
                work.out.put(CONTINUE);
                connection.continue_sent();
                return Some(Next::NeedInput);
            }
            Err(reject) => {
                self.answer(work);
                self.reject(connection, reject, &input[work.consumed..], &mut work.out);
                work.consumed = input.len();
                work.answered += 1;
                return Some(Next::Close);
            }
        };
        work.consumed += request.bytes;
        connection.request_taken();
        let envelope = self.envelope(connection, &request, &input[work.consumed..]);
        match self.route(&request, envelope, policies) {
            Ok(Routed::Check(pending)) => work.pending.push(pending),
            other => {
                self.answer(work);
                if !self.answer_other(other, &request, envelope, policies, work) {
                    connection.wait(envelope.close, envelope.is_http_10);
                    return Some(Next::AwaitMetrics);
                }
            }
        }
        work.answered += 1;
        envelope.close.then(|| {
            connection.close();
            Next::Close
        })
    }

    #[inline]
    fn route<'p>(
        &mut self,
        request: &Request<'_>,
        envelope: Envelope,
        policies: &'p PolicySet,
    ) -> Result<Routed<'p>, Problem> {
        Ok(match Route::of(&request.head, &mut self.names)? {
            Route::Check(CheckRequest { policy, key, cost, deny }) => {
                let check = Check::find(policies, policy, key, cost)?;
                Routed::Check(Pending { check, deny, envelope })
            }
            Route::Batch(deny) => Routed::Batch(deny),
            Route::Health => Routed::Health,
            Route::Metrics => Routed::Metrics,
        })
    }

    /// Decides the checks that wait, and renders their answers in order.
    fn answer(&self, work: &mut Work<'_, '_>) {
        let charged = work.pending.iter().filter(|pending| pending.check.fixed().is_none());
        let mut items: ArrayVec<_, BATCH> = charged.map(|pending| pending.check.item()).collect();
        self.table.charger(self.log.as_ref()).charge_each(&mut items, work.now);
        let mut charges = items.iter().map(|item| item.charge);
        for Pending { check, deny, envelope } in work.pending.drain(..) {
            let charge = check.fixed().or_else(|| charges.next()).unwrap_or_default();
            let decided = check.decided(&charge);
            self.metrics.check(decided.policy.index(), decided.result);
            self.renderer.check(&mut work.out, &decided, deny, envelope);
        }
    }

    /// Answers what is no single check, at once; `false` when another thread has to.
    fn answer_other(
        &mut self,
        routed: Result<Routed<'_>, Problem>,
        request: &Request<'_>,
        envelope: Envelope,
        policies: &PolicySet,
        work: &mut Work<'_, '_>,
    ) -> bool {
        let result = match routed {
            Ok(Routed::Batch(deny)) => self.answer_batch(request, deny, envelope, policies, work),
            Ok(Routed::Metrics) if !envelope.head_only => return false,
            Ok(Routed::Metrics) => {
                self.renderer.metrics_head(&mut work.out, None, envelope);
                Ok(())
            }
            Ok(Routed::Health | Routed::Check(_)) => {
                self.renderer.health(&mut work.out, &self.health, &self.region, self.version, envelope);
                Ok(())
            }
            Err(problem) => Err(problem),
        };
        if let Err(problem) = result {
            self.metrics.parse_error(problem.kind());
            self.renderer.problem(&mut work.out, &problem, envelope);
        }
        true
    }

    fn answer_batch(
        &mut self,
        request: &Request<'_>,
        deny: Status,
        envelope: Envelope,
        policies: &PolicySet,
        work: &mut Work<'_, '_>,
    ) -> Result<(), Problem> {
        let body = request.body.content(&mut self.body);
        let charger = self.table.charger(self.log.as_ref());
        let outcome = batch::decide(body, &mut self.names, policies, charger, work.now)?;
        for decided in &outcome.checks {
            self.metrics.check(decided.policy.index(), decided.result);
        }
        self.renderer.batch(&mut work.out, &outcome, deny, envelope);
        Ok(())
    }

    fn reject(
        &self,
        connection: &mut ConnectionState,
        reject: Reject,
        input: &[u8],
        out: &mut OutputBuffer<'_>,
    ) {
        self.metrics.parse_error(kind_of(reject));
        connection.close();
        self.renderer.reject(out, reject, input);
    }
}

impl Service for CoreService {
    type Connection = ConnectionState;

    const MAX_ANSWER_BYTES: usize = MAX_ANSWER_BYTES;

    fn max_request_bytes(&self) -> usize {
        self.answerer.limits.max_request_bytes()
    }

    fn step(
        &mut self,
        connection: &mut ConnectionState,
        input: &[u8],
        output: &mut [u8],
        now: MonotonicNs,
    ) -> Step {
        let Self { policies, answerer } = self;
        let mut work = Work {
            out: OutputBuffer::new(output),
            pending: PendingChecks::new(),
            now,
            consumed: 0,
            answered: 0,
        };
        let next = loop {
            let room = MAX_ANSWER_BYTES + work.pending.len() * MAX_CHECK_BYTES;
            if work.out.remaining() < room {
                break Next::NeedOutputSpace;
            }
            if let Some(next) = answerer.next_request(connection, input, policies, &mut work) {
                break next;
            }
            if work.pending.is_full() {
                answerer.answer(&mut work);
            }
        };
        answerer.answer(&mut work);
        Step { consumed: work.consumed, written: work.out.len(), answered: work.answered, next }
    }

    fn reads_body(&self, connection: &ConnectionState) -> bool {
        connection.reads_body()
    }

    fn finish_metrics(
        &mut self,
        connection: &mut ConnectionState,
        body_bytes: usize,
        output: &mut [u8],
    ) -> (usize, bool) {
        let (close, is_http_10) = connection.take_waiting().unwrap_or((true, false));
        let close = close || self.answerer.health.is_draining();
        if close {
            connection.close();
        }
        let mut out = OutputBuffer::new(output);
        let envelope = Envelope { close, is_http_10, head_only: false };
        self.answerer.renderer.metrics_head(&mut out, Some(body_bytes), envelope);
        (out.len(), close)
    }

    fn timed_out(&mut self, connection: &mut ConnectionState, input: &[u8], output: &mut [u8]) -> usize {
        let mut out = OutputBuffer::new(output);
        self.answerer.reject(connection, Reject::Timeout, input, &mut out);
        out.len()
    }

    fn refuse(&mut self, refusal: Refusal, input: &[u8], output: &mut [u8]) -> usize {
        let mut out = OutputBuffer::new(output);
        self.answerer.renderer.refuse(&mut out, refusal, input);
        out.len()
    }

    fn set_policies(&mut self, policies: Arc<PolicySet>) {
        self.policies = policies;
    }

    fn set_wall_clock(&mut self, unix_seconds: u64) {
        self.answerer.renderer.date = DateLine::at(unix_seconds);
    }

    fn observe(&mut self, event: Event) {
        let metrics = &self.answerer.metrics;
        match event {
            Event::Opened => metrics.connection_opened(),
            Event::Closed => metrics.connection_closed(),
            Event::Refused => metrics.connection_refused(),
            Event::Received(bytes) => metrics.add_bytes_received(bytes as u64),
            Event::Sent(bytes) => metrics.add_bytes_sent(bytes as u64),
        }
    }

    fn turn_ended(&mut self, turn: Turn) {
        self.answerer.metrics.turn();
        if turn.answered > 0 {
            let histograms = &mut self.answerer.histograms;
            histograms.record_request_ns(turn.ended.since(turn.began), turn.answered);
            histograms.record_decision_ns(turn.deciding_ns / turn.answered, turn.answered);
        }
        self.answerer.histograms.publish_if_asked();
    }
}
