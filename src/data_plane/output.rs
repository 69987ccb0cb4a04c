//! What leaves: one send at a time a connection, the next answers written meanwhile.

use super::connection::{Stage, Waiting};
use super::core::Core;
use super::mailbox::RenderReply;
use super::pages::Holder;
use super::service::{Event, Service};
use crate::ring::Completion;
use crate::time::Clock;

impl<S: Service, C: Clock> Core<S, C> {
    /// Has what was written sent at the end of the turn.
    pub(super) fn queue_output(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        match connection.output.take() {
            Some(output) if output.is_empty() => self.sends.give_back(output),
            Some(output) => {
                connection.output = Some(output);
                if connection.sending.is_none() && !connection.queued && connection.stage != Stage::Closing {
                    connection.queued = true;
                    self.to_send.push(index);
                }
            }
            None => {}
        }
    }

    pub(super) fn send_queued(&mut self) {
        while let Some(index) = self.to_send.pop() {
            self.connections[index as usize].queued = false;
            self.send(index);
        }
    }

    fn send(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.sending.is_some() || connection.stage == Stage::Closing {
            return;
        }
        if let Some(mut output) = connection.output.take() {
            self.ring.send(Self::file(index), &self.sends, &mut output, index);
            connection.sending = Some(output);
        }
    }

    /// The output is full: sends it if it can; whether there is room again.
    pub(super) fn make_room(&mut self, index: u32) -> bool {
        self.send(index);
        self.connections[index as usize].output.is_none()
    }

    pub(super) fn sent(&mut self, index: u32, completion: Completion) {
        let connection = &mut self.connections[index as usize];
        let Some(mut buffer) = connection.sending.take() else { return };
        let bytes = self.sends.sent(&mut buffer, completion);
        self.service.observe(Event::Sent(bytes));
        if connection.stage == Stage::Closing || bytes == 0 {
            self.sends.give_back(buffer);
            return self.close(index);
        }
        // Nothing but this shows that the client takes its answers.
        self.wait_for(index, Waiting::Write);
        let connection = &mut self.connections[index as usize];
        if buffer.is_empty() {
            self.sends.give_back(buffer);
        } else {
            self.ring.send(Self::file(index), &self.sends, &mut buffer, index);
            connection.sending = Some(buffer);
            return;
        }
        self.continue_page(index);
        self.pump(index);
    }

    /// Gives a metrics page to all who wait for it.
    pub(super) fn page_rendered(&mut self, reply: &RenderReply) {
        if !self.pages.arrived(reply.token) {
            return;
        }
        self.make_room_for_page();
        while let Some(waiter) = self.pages.next_asked() {
            if let Some(index) = self.still_awaits_page(waiter) {
                self.give_page(index, reply);
            }
        }
    }

    /// Ends the connections that hold the oldest page when too many are held: a client that takes its page slowly
    /// keeps all of it in memory.
    fn make_room_for_page(&mut self) {
        let mut surplus = std::mem::take(&mut self.hoarders);
        let connections = &self.connections;
        let holds = |holder: Holder| {
            let connection = &connections[holder.index as usize];
            !connection.page.is_empty() && connection.page_round == holder.round
        };
        self.pages.make_room(holds, &mut surplus);
        for index in surplus.drain(..) {
            self.service.observe(Event::Refused);
            self.close(index);
        }
        self.hoarders = surplus;
    }

    fn give_page(&mut self, index: u32, reply: &RenderReply) {
        let connection = &mut self.connections[index as usize];
        connection.output = connection.output.take().or_else(|| self.sends.take());
        let Some(output) = connection.output.as_mut() else { return self.close(index) };
        let room = self.sends.unwritten(output);
        if room.len() < S::MAX_ANSWER_BYTES {
            // A send is under way, or this would have been sent: the client does not read.
            return self.close(index);
        }
        let (written, last) = self.service.finish_metrics(&mut connection.protocol, reply.body.len(), room);
        self.sends.wrote(output, written);
        connection.awaits_metrics = false;
        connection.page = reply.body.clone();
        connection.page_round = reply.token;
        self.answered += 1;
        self.continue_page(index);
        if !self.connections[index as usize].page.is_empty() {
            self.pages.hold(index);
        }
        if last {
            self.finish(index);
        }
        self.pump(index);
    }

    /// Copies the next piece of a metrics page to the output.
    fn continue_page(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.page.is_empty() {
            return;
        }
        connection.output = connection.output.take().or_else(|| self.sends.take());
        let Some(output) = connection.output.as_mut() else { return self.close(index) };
        let room = self.sends.unwritten(output);
        let piece = connection.page.split_to(room.len().min(connection.page.len()));
        room[..piece.len()].copy_from_slice(&piece);
        self.sends.wrote(output, piece.len());
        self.queue_output(index);
    }

    /// Once all is sent on a connection that ends: says so, and waits for the other side to end.
    pub(super) fn linger_if_done(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.stage != Stage::Finishing || !connection.is_flushed() {
            return;
        }
        if connection.ended {
            return self.close(index);
        }
        connection.stage = Stage::Lingering;
        connection.shutting_down = true;
        connection.lingers_until = self.now.after(self.limits.body_timeout);
        self.ring.shutdown_write(Self::file(index), index);
        self.discard_input(index);
        self.wait_for(index, Waiting::End);
    }

    pub(super) fn shut_down(&mut self, index: u32) {
        self.connections[index as usize].shutting_down = false;
        self.close_if_quiet(index);
    }
}
