//! The life of connections: accepted, refused, timed out, ended, closed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use super::connection::{Receiving, Stage, Waiting};
use super::core::Core;
use super::pages::METRICS;
use super::service::{Event, Refusal, Service};
use crate::ring::{Completion, Operation};
use crate::time::Clock;

/// How long a connection that ended on our side waits for the other side to end, or to send more.
const LINGER: Duration = Duration::from_secs(1);
/// How long an open connection may take to ask once more when the server ends: a request may be on its way
/// on any that was not told to close.
const LAST_REQUEST: Duration = Duration::from_millis(500);

impl<S: Service, C: Clock> Core<S, C> {
    pub(super) fn accepted(&mut self, listener: u32, completion: &Completion) {
        if !completion.goes_on() {
            self.accepting -= 1;
            if !self.draining {
                self.stopped_listeners.push(listener);
            }
        }
        match u32::try_from(completion.result()) {
            Ok(index) => self.opened(index),
            Err(_) if self.draining || completion.errno() == Some(Errno::CANCELED) => {}
            // Out of memory, or of places: who waits is asked in again after the next close or sweep.
            Err(_) => return self.service.observe(Event::Refused),
        }
        if self.open == self.limits.connections {
            self.stop_accepting();
        }
        self.accept_again();
    }

    /// Ends all accepts under way. Unless the server drains, they are taken up again as there are places.
    fn stop_accepting(&mut self) {
        for listener in 0..self.listeners.len() {
            self.ring.cancel(Operation::Accept, listener as u32);
        }
    }

    fn opened(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let life = connection.life.wrapping_add(1);
        *connection = super::connection::Connection { stage: Stage::Open, life, ..Default::default() };
        self.open += 1;
        let may_stay = self.served < self.limits.connections && self.count_among_all();
        self.served += u32::from(may_stay);
        self.connections[index as usize].is_served = may_stay;
        self.service.observe(Event::Opened);
        self.start_receive(index);
        self.wait_for(index, Waiting::Idle);
        if !may_stay {
            self.turn_away(index, Refusal::Connections);
        }
    }

    /// Counts one more connection of all threads together, unless there are as many as may be.
    fn count_among_all(&self) -> bool {
        let most = self.limits.all_connections;
        // Relaxed: the count orders nothing else.
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.open_everywhere.fetch_update(set, fetch, |open| (open < most).then_some(open + 1)).is_ok()
    }

    pub(super) fn turn_away(&mut self, index: u32, refusal: Refusal) {
        self.service.observe(Event::Refused);
        self.write_last(index, |service, _, input, output| {
            // The request for the page is used up; what there is belongs to the next.
            let input = if refusal == Refusal::Metrics { &[] } else { input };
            service.refuse(refusal, input, output)
        });
    }

    /// Writes one last answer, to what there is of a request, and ends the connection after it.
    fn write_last(
        &mut self,
        index: u32,
        write: impl FnOnce(&mut S, &mut S::Connection, &[u8], &mut [u8]) -> usize,
    ) {
        let connection = &mut self.connections[index as usize];
        connection.output = connection.output.take().or_else(|| self.sends.take());
        let Some(output) = connection.output.as_mut() else { return self.close(index) };
        let room = self.sends.unwritten(output);
        if room.len() < S::MAX_ANSWER_BYTES {
            return self.close(index);
        }
        let input = match (&connection.partial, self.held.first(connection.held)) {
            (Some(partial), _) => self.partials.bytes(partial),
            (None, Some(received)) => self.receives.bytes(received),
            (None, None) => &[],
        };
        let written = write(&mut self.service, &mut connection.protocol, input, room);
        self.sends.wrote(output, written);
        self.finish(index);
        self.settle(index);
    }

    pub(super) fn wait_for(&mut self, index: u32, waiting: Waiting) {
        let limit = match waiting {
            Waiting::Idle if self.draining => self.limits.idle_timeout.min(LAST_REQUEST),
            Waiting::Idle => self.limits.idle_timeout,
            Waiting::Head => self.limits.header_timeout,
            Waiting::Body => self.limits.body_timeout,
            Waiting::Write => self.limits.write_timeout,
            Waiting::Metrics => METRICS,
            Waiting::End => LINGER,
        };
        self.connections[index as usize].waiting = waiting;
        self.deadlines[index as usize] = self.now.after(limit).0;
    }

    /// Waits on for a client that is still sending, as long as a body may take: many read an answer only after all is
    /// sent. Who was turned away has a place that the next may need, and the end of the server waits for nobody.
    pub(super) fn linger_on(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        if connection.is_served && !self.draining {
            let until = self.now.after(LINGER).min(connection.lingers_until);
            let deadline = &mut self.deadlines[index as usize];
            *deadline = (*deadline).max(until.0);
        }
    }

    pub(super) fn expired(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        let waits_for_request = matches!(connection.waiting, Waiting::Head | Waiting::Body);
        match connection.stage {
            Stage::Open if waits_for_request => {
                self.write_last(index, S::timed_out);
            }
            Stage::Open if connection.waiting == Waiting::Metrics => self.turn_away(index, Refusal::Metrics),
            // A close with unread input would reset the connection; this way its client can try again elsewhere.
            Stage::Open if self.draining && connection.is_idle() => {
                self.finish(index);
                self.settle(index);
            }
            // A client that takes its answers slowly, or holds buffers, is waited for no longer.
            _ => self.close(index),
        }
    }

    /// No more requests: what was written is sent, then the connection ends.
    pub(super) fn finish(&mut self, index: u32) {
        self.drop_input(index);
        self.connections[index as usize].stage = Stage::Finishing;
        self.wait_for(index, Waiting::Write);
        self.queue_output(index);
    }

    fn drop_input(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        while let Some(received) = self.held.pop(&mut connection.held) {
            self.receives.give_back(received);
        }
        if let Some(partial) = connection.partial.take() {
            self.partials.give_back(partial);
        }
    }

    /// Ends a connection now; its place is free when the kernel is done with it.
    pub(super) fn close(&mut self, index: u32) {
        self.drop_input(index);
        let connection = &mut self.connections[index as usize];
        if connection.stage == Stage::Free {
            return;
        }
        if let Some(output) = connection.output.take() {
            self.sends.give_back(output);
        }
        connection.page = bytes::Bytes::new();
        let first = connection.stage != Stage::Closing;
        connection.stage = Stage::Closing;
        self.deadlines[index as usize] = u64::MAX;
        if connection.receiving == Receiving::On {
            connection.receiving = Receiving::Stopping;
            self.ring.cancel(Operation::Receive, index);
        }
        if let Some(sending) = &connection.sending
            && first
        {
            self.ring.cancel_send(sending, index);
        }
        self.close_if_quiet(index);
    }

    pub(super) fn close_if_quiet(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.stage == Stage::Closing && !connection.has_operations() {
            // Not counted on any more: the completion of the close frees the place.
            connection.stage = Stage::Free;
            if std::mem::take(&mut connection.is_served) {
                self.served -= 1;
                self.open_everywhere.fetch_sub(1, Ordering::Relaxed);
            }
            self.ring.close(Self::file(index), index);
        }
    }

    /// The place may have its next connection already: an accept of the same batch is told of first.
    pub(super) fn closed(&mut self) {
        self.open -= 1;
        self.service.observe(Event::Closed);
        self.accept_again();
    }

    /// Stops accepting. Every connection may ask once more, at once, and ends with that answer: a request may have
    /// arrived that is not seen yet, and no answer so far has told its client to send no other.
    pub(super) fn start_draining(&mut self) {
        self.draining = true;
        self.stop_accepting();
        self.listeners.clear();
        self.stopped_listeners.clear();
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if connection.stage != Stage::Open || connection.has_input() || connection.awaits_metrics {
                continue;
            }
            connection.has_asked = false;
            if connection.is_flushed() {
                self.wait_for(index as u32, Waiting::Idle);
            }
        }
    }
}
