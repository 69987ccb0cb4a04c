//! What arrives: received, held while it cannot be answered, stepped over, kept when incomplete.

use rustix::io::Errno;

use super::connection::{Receiving, Stage, Waiting};
use super::core::Core;
use super::mailbox::RenderRequest;
use super::pages::Waiter;
use super::service::{Event, Next, Refusal, Service, Step};
use crate::ring::{Completion, Operation};
use crate::time::Clock;

/// Receive again once this many buffers are free, one part in so many of all.
const RESUME_FRACTION: u16 = 8;

impl<S: Service, C: Clock> Core<S, C> {
    pub(super) fn received(&mut self, index: u32, completion: Completion) {
        let connection = &mut self.connections[index as usize];
        if !completion.goes_on() {
            connection.receiving = Receiving::Off;
        }
        let (result, errno) = (completion.result(), completion.errno());
        if let Some(received) = self.receives.take(completion) {
            self.service.observe(Event::Received(received.len()));
            connection.has_asked = true;
            if connection.stage == Stage::Open && !received.is_empty() {
                self.held.push(&mut connection.held, received);
            } else {
                self.receives.give_back(received);
            }
        }
        match errno {
            None if result == 0 => connection.ended = true,
            None | Some(Errno::CANCELED) => {}
            Some(Errno::NOBUFS) => self.starved.push(index),
            Some(_) => return self.close(index),
        }
        let connection = &self.connections[index as usize];
        match connection.stage {
            Stage::Closing => self.close_if_quiet(index),
            Stage::Lingering if connection.ended => self.close(index),
            Stage::Lingering => {
                if result > 0 {
                    self.linger_on(index);
                }
                self.discard_input(index);
            }
            _ => self.pump(index),
        }
    }

    /// Steps over the input of a connection until it needs something, then settles it.
    pub(super) fn pump(&mut self, index: u32) {
        let began = self.clock_for_decision(index);
        let answered = self.answered;
        while self.connections[index as usize].stage == Stage::Open && self.step(index) {}
        if self.answered != answered {
            self.deciding_ns += self.clock.now().since(began);
        }
        self.settle(index);
    }

    fn clock_for_decision(&self, index: u32) -> crate::time::MonotonicNs {
        if self.connections[index as usize].has_input() { self.clock.now() } else { self.now }
    }

    /// One step; whether another may be possible at once.
    fn step(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        if connection.awaits_metrics || !connection.page.is_empty() || !connection.has_input() {
            return false;
        }
        if connection.output.is_none() {
            connection.output = self.sends.take();
        }
        let Some(output) = connection.output.as_mut() else { return false };
        let room = self.sends.unwritten(output);
        let no_room = room.len() < S::MAX_ANSWER_BYTES;
        let stepped_over_partial = connection.partial.is_some();
        let step = if no_room {
            Step { consumed: 0, written: 0, answered: 0, next: Next::NeedOutputSpace }
        } else {
            let protocol = &mut connection.protocol;
            match &connection.partial {
                Some(partial) => self.service.step(protocol, self.partials.bytes(partial), room, self.now),
                None => match self.held.first(connection.held) {
                    Some(received) => {
                        self.service.step(protocol, self.receives.bytes(received), room, self.now)
                    }
                    None => return false,
                },
            }
        };
        self.sends.wrote(output, step.written);
        self.answered += u64::from(step.answered);
        self.use_up(index, step.consumed);
        match step.next {
            Next::NeedInput => self.gather(index, stepped_over_partial),
            Next::NeedOutputSpace => self.make_room(index),
            Next::AwaitMetrics => self.await_page(index),
            Next::Close => {
                self.finish(index);
                false
            }
        }
    }

    fn use_up(&mut self, index: u32, consumed: usize) {
        let connection = &mut self.connections[index as usize];
        if let Some(mut partial) = connection.partial.take() {
            self.partials.consume(&mut partial, consumed);
            if partial.len == 0 {
                self.partials.give_back(partial);
            } else {
                connection.partial = Some(partial);
            }
        } else if let Some(received) = self.held.first(connection.held) {
            received.advance(consumed);
            if received.is_empty() {
                self.give_back_first(index);
            }
        }
    }

    fn give_back_first(&mut self, index: u32) {
        let list = &mut self.connections[index as usize].held;
        if let Some(received) = self.held.pop(list) {
            self.receives.give_back(received);
        }
    }

    /// Moves the beginning of an incomplete request out of its receive buffer and appends what came
    /// after it; whether there is anything new to step over.
    fn gather(&mut self, index: u32, stepped_over_partial: bool) -> bool {
        let connection = &mut self.connections[index as usize];
        if connection.partial.is_none() {
            if stepped_over_partial {
                // It ended where a request did; what is held begins the next.
                return !connection.held.is_empty();
            }
            let Some(received) = self.held.first(connection.held) else { return false };
            let Some(mut partial) = self.partials.take() else {
                self.turn_away(index, Refusal::PartialRequests);
                return false;
            };
            self.partials.append(&mut partial, self.receives.bytes(received));
            connection.partial = Some(partial);
            self.give_back_first(index);
        }
        self.append_next(index)
    }

    fn append_next(&mut self, index: u32) -> bool {
        match self.append_first(index) {
            None => false,
            Some(0) => {
                // The service is to refuse a request before it outgrows the memory for it.
                debug_assert!(false, "a request outgrew the limit without being refused");
                self.close(index);
                false
            }
            Some(_) => true,
        }
    }

    /// Moves what fits of the first held buffer to the incomplete request; how much that was.
    pub(super) fn append_first(&mut self, index: u32) -> Option<usize> {
        let connection = &mut self.connections[index as usize];
        let (Some(partial), Some(received)) = (&mut connection.partial, self.held.first(connection.held))
        else {
            return None;
        };
        let taken = self.partials.append(partial, self.receives.bytes(received));
        received.advance(taken);
        if received.is_empty() {
            self.give_back_first(index);
        }
        Some(taken)
    }

    fn await_page(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        connection.awaits_metrics = true;
        let waiter = Waiter { index, life: connection.life };
        if !self.pages.join(waiter) {
            self.turn_away(index, Refusal::Metrics);
        }
        false
    }

    /// Asks the control plane for the metrics page that connections wait for.
    pub(super) fn ask_for_page(&mut self) {
        let Some(token) = self.pages.begin_round(self.now) else { return };
        if self.render.try_send(RenderRequest { core: self.number, token }).is_err() {
            self.pages.arrived(token);
            while let Some(waiter) = self.pages.next_asked() {
                if let Some(index) = self.still_awaits_page(waiter) {
                    self.turn_away(index, Refusal::Metrics);
                }
            }
        }
    }

    /// The place of a connection that waits for the metrics page, unless it is gone.
    pub(super) fn still_awaits_page(&self, waiter: Waiter) -> Option<u32> {
        let connection = self.connections.get(waiter.index as usize)?;
        let lives = connection.life == waiter.life && connection.stage == Stage::Open;
        (lives && connection.awaits_metrics).then_some(waiter.index)
    }

    /// After anything that changed a connection: what it sends, receives and waits for next.
    pub(super) fn settle(&mut self, index: u32) {
        self.queue_output(index);
        let connection = &mut self.connections[index as usize];
        if connection.stage == Stage::Open {
            let stuck = connection.awaits_metrics || !connection.is_flushed();
            let done = connection.ended && !(stuck && connection.has_input()) && !connection.awaits_metrics;
            let drained = self.draining && connection.has_asked && connection.is_idle();
            if done || drained {
                self.finish(index);
            } else {
                self.steer_receive(index);
                self.set_deadline(index);
            }
        }
        self.linger_if_done(index);
    }

    /// Input that cannot be answered yet stays in the socket: the client is slowed by TCP itself. Nothing is
    /// received for a connection that could not step over it, since the buffers are there for all.
    fn steer_receive(&mut self, index: u32) {
        let may_receive = self.may_receive(index);
        let connection = &mut self.connections[index as usize];
        match (connection.receiving, may_receive) {
            (Receiving::On, false) => {
                connection.receiving = Receiving::Stopping;
                self.ring.cancel(Operation::Receive, index);
            }
            (Receiving::Off, true) if !connection.ended && !self.starved.contains(&index) => {
                self.start_receive(index);
            }
            _ => {}
        }
    }

    /// Whether what arrives can be stepped over at once.
    fn may_receive(&mut self, index: u32) -> bool {
        let connection = &mut self.connections[index as usize];
        let waits = connection.awaits_metrics || !connection.page.is_empty() || !connection.held.is_empty();
        let has_room = match &mut connection.output {
            Some(output) if connection.sending.is_some() => {
                self.sends.unwritten(output).len() >= S::MAX_ANSWER_BYTES
            }
            _ => true,
        };
        has_room && !waits
    }

    /// Keeps receiving what a connection that ends still gets.
    pub(super) fn discard_input(&mut self, index: u32) {
        if self.connections[index as usize].receiving == Receiving::Off && !self.starved.contains(&index) {
            self.start_receive(index);
        }
    }

    /// A receive that the kernel was just about to take up again is not found by its cancellation.
    pub(super) fn cancelled(&mut self, index: u32, completion: &Completion) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        let missed = completion.errno() == Some(Errno::NOENT);
        if missed && connection.receiving == Receiving::Stopping {
            self.ring.cancel(Operation::Receive, index);
        }
    }

    pub(super) fn start_receive(&mut self, index: u32) {
        self.connections[index as usize].receiving = Receiving::On;
        self.ring.receive_multishot(Self::file(index), &self.receives, index);
    }

    /// Goes on receiving for connections that found no buffer, once there are some.
    pub(super) fn receive_for_starved(&mut self) {
        if self.starved.is_empty() || self.receives.free() < self.receives.count() / RESUME_FRACTION {
            return;
        }
        while let Some(index) = self.starved.pop() {
            let connection = &self.connections[index as usize];
            let (stage, receiving) = (connection.stage, connection.receiving);
            let wanted = stage == Stage::Lingering || stage == Stage::Open && self.may_receive(index);
            if wanted && receiving == Receiving::Off {
                self.start_receive(index);
            }
        }
    }

    fn set_deadline(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let waiting = if !connection.is_flushed() {
            Waiting::Write
        } else if connection.awaits_metrics {
            Waiting::Metrics
        } else if connection.partial.is_none() {
            Waiting::Idle
        } else if self.service.reads_body(&connection.protocol) {
            Waiting::Body
        } else {
            Waiting::Head
        };
        // Neither a request that drips in nor one that comes while nothing is taken puts its deadline off.
        let goes_on = waiting == connection.waiting && waiting != Waiting::Idle;
        if !goes_on {
            self.wait_for(index, waiting);
        }
    }
}
