//! Requests out, answers in.

use std::io;

use rustix::io::Errno;

use super::connection::{Failure, Pending, Stage};
use super::{SEND_BYTES, Worker};
use crate::load::record::ErrorKind;
use crate::load::schedule::Due;
use crate::ring::Completion;
use crate::time::MonotonicNs;

/// Receive again once this many buffers are free, one part in so many of all.
const RESUME_FRACTION: u16 = 8;

impl Worker<'_> {
    /// Writes the requests that are due, as far as there is room for them.
    pub(super) fn fill(&mut self) {
        let spreads = self.plan.settings().rate.is_some();
        while let Some(&index) = self.with_room.front() {
            let Due::Now(due) = self.schedule.due(self.now) else { return };
            if self.write_request(index, due) {
                self.schedule.take();
                if spreads {
                    // In open loop the next request goes to the next connection.
                    self.with_room.rotate_left(1);
                }
            } else {
                self.connections[index as usize].queued = false;
                self.with_room.pop_front();
            }
        }
    }

    /// Writes one request, if the connection has room for it.
    fn write_request(&mut self, index: u32, due: MonotonicNs) -> bool {
        debug_assert!(self.request.max_bytes() <= SEND_BYTES);
        let connection = &mut self.connections[index as usize];
        if !connection.has_room(self.plan.settings().pipeline) {
            return false;
        }
        if connection.output.is_none() {
            connection.output = self.sends.take();
            self.to_send.push(index);
        }
        let Some(output) = connection.output.as_mut() else { return false };
        let room = self.sends.unwritten(output);
        if room.len() < self.request.max_bytes() {
            return false;
        }
        let len = self.request.render(self.keys.next(), room);
        self.sends.wrote(output, len);
        connection.pending.push_back(Pending { due, sent: self.now });
        self.pending += 1;
        self.record.sent += 1;
        self.last_activity = self.now;
        true
    }

    pub(super) fn send_written(&mut self) {
        while let Some(index) = self.to_send.pop() {
            let connection = &mut self.connections[index as usize];
            let Some(mut output) = connection.output.take() else { continue };
            self.ring.send(Self::file(index), &self.sends, &mut output, index);
            connection.sending = Some(output);
        }
    }

    pub(super) fn sent(&mut self, index: u32, completion: Completion) {
        let connection = &mut self.connections[index as usize];
        let Some(mut buffer) = connection.sending.take() else { return };
        let errno = completion.errno();
        let bytes = self.sends.sent(&mut buffer, completion);
        self.record.bytes_sent += bytes as u64;
        if connection.stage == Stage::Open && bytes > 0 && !buffer.is_empty() {
            self.ring.send(Self::file(index), &self.sends, &mut buffer, index);
            connection.sending = Some(buffer);
            return;
        }
        self.sends.give_back(buffer);
        match connection.stage {
            Stage::Closing => self.close_if_quiet(index),
            _ if bytes == 0 => self.fail(index, broken(errno)),
            _ => self.offer(index),
        }
    }

    /// Puts a connection in the queue for requests, if it has room.
    pub(super) fn offer(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if !connection.queued && connection.has_room(self.plan.settings().pipeline) {
            connection.queued = true;
            self.with_room.push_back(index);
        }
    }

    pub(super) fn received(&mut self, index: u32, completion: Completion) {
        let connection = &mut self.connections[index as usize];
        if !completion.goes_on() {
            connection.receiving = false;
        }
        let (result, errno) = (completion.result(), completion.errno());
        let mut outcome = Ok(0);
        if let Some(received) = self.receives.take(completion) {
            if connection.stage == Stage::Open {
                let bytes = self.receives.bytes(&received);
                let before = connection.pending.len();
                outcome = connection.take_answers(bytes, self.now, &mut self.record);
                self.pending -= (before - connection.pending.len()) as u64;
            }
            self.receives.give_back(received);
        }
        match connection.stage {
            Stage::Open => self.follow_up(index, outcome, errno.map_or(Ok(result), Err)),
            _ => self.close_if_quiet(index),
        }
    }

    /// Goes on after bytes, the end or an error arrived on an open connection: `answers` is what was made of the
    /// bytes, `received` how many there were.
    fn follow_up(&mut self, index: u32, answers: Result<u64, Failure>, received: Result<i32, Errno>) {
        match answers {
            Err(failure) => return self.fail(index, failure),
            Ok(answers) if answers > 0 => self.last_activity = self.now,
            Ok(_) => {}
        }
        let connection = &self.connections[index as usize];
        if connection.ends {
            return self.end(index);
        }
        match received {
            Ok(0) => return self.end(index),
            Ok(_) if !connection.receiving => self.receive(index),
            Ok(_) => {}
            Err(Errno::NOBUFS) => self.starved.push(index),
            Err(errno) => return self.fail(index, broken(Some(errno))),
        }
        self.offer(index);
    }

    pub(super) fn receive(&mut self, index: u32) {
        self.connections[index as usize].receiving = true;
        self.ring.receive_multishot(Self::file(index), &self.receives, index);
    }

    /// Receives again where that ended for want of buffers, once there are some.
    pub(super) fn receive_for_starved(&mut self) {
        if self.receives.free() < self.receives.count() / RESUME_FRACTION {
            return;
        }
        while let Some(index) = self.starved.pop() {
            let connection = &self.connections[index as usize];
            if connection.stage == Stage::Open && !connection.receiving {
                self.receive(index);
            }
        }
    }
}

/// The failure that the end of an operation stands for.
fn broken(errno: Option<Errno>) -> Failure {
    let error = errno.map_or_else(|| io::ErrorKind::WriteZero.into(), io::Error::from);
    Failure { kind: ErrorKind::Closed, why: format!("the connection broke: {error}") }
}
