//! The life of connections: made, ended, failed, made again, given up.

use std::io;
use std::time::Duration;

use super::Worker;
use super::connection::{Failure, Stage};
use crate::load::record::ErrorKind;
use crate::ring::{Completion, Operation};

/// The wait after the first failure; it doubles with each that follows.
const FIRST_RETRY: Duration = Duration::from_millis(10);
/// The longest wait.
const LAST_RETRY: Duration = Duration::from_secs(1);

/// The wait after so many failures in a row.
fn retry_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        failures => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(10)).min(LAST_RETRY),
    }
}

impl Worker<'_> {
    pub(super) fn connect(&mut self, index: u32) {
        let socket = self.destination.socket();
        match socket.and_then(|socket| self.ring.adopt(Self::file(index), &socket)) {
            Ok(()) => {
                let connection = &mut self.connections[index as usize];
                connection.stage = Stage::Connecting(self.now);
                connection.connecting = true;
                self.ring.connect(Self::file(index), &self.destination, index);
            }
            Err(error) => {
                self.record.failed(ErrorKind::Connect, 1, || format!("there is no socket: {error}"));
                self.connections[index as usize].failures += 1;
                self.wait_to_retry(index);
            }
        }
    }

    pub(super) fn connected(&mut self, index: u32, completion: &Completion) {
        let connection = &mut self.connections[index as usize];
        connection.connecting = false;
        if connection.stage == Stage::Closing {
            return self.close_if_quiet(index);
        }
        if let Some(errno) = completion.errno() {
            return self.fail(index, no_connection(&errno.into()));
        }
        connection.stage = Stage::Open;
        self.record.connected += 1;
        self.receive(index);
        self.offer(index);
    }

    /// The server ended the connection: well, if nothing is owed and it answered something.
    pub(super) fn end(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        if connection.pending.is_empty() && connection.was_answered {
            return self.close(index);
        }
        let why = "the server ended a connection before it answered".to_owned();
        self.fail(index, Failure { kind: ErrorKind::Closed, why });
    }

    /// Counts what is lost with a connection, and closes it.
    pub(super) fn fail(&mut self, index: u32, failure: Failure) {
        let connection = &mut self.connections[index as usize];
        let lost = connection.pending.len() as u64;
        self.pending -= lost;
        connection.pending.clear();
        connection.failures += 1;
        // A connection that is idle loses no request, and is an error all the same.
        self.record.failed(failure.kind, lost.max(1), || failure.why);
        self.close(index);
    }

    /// Ends a connection now; it is made anew when the kernel is done with it.
    fn close(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.stage = Stage::Closing;
        if let Some(output) = connection.output.take() {
            self.sends.give_back(output);
        }
        if connection.connecting {
            self.ring.cancel(Operation::Connect, index);
        }
        if connection.receiving {
            self.ring.cancel(Operation::Receive, index);
        }
        if let Some(sending) = &connection.sending {
            self.ring.cancel_send(sending, index);
        }
        self.close_if_quiet(index);
    }

    pub(super) fn close_if_quiet(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        if connection.stage == Stage::Closing && !connection.has_operations() {
            self.ring.close(Self::file(index), index);
        }
    }

    pub(super) fn closed(&mut self, index: u32) {
        self.connections[index as usize].reset();
        self.wait_to_retry(index);
    }

    fn wait_to_retry(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.failures >= self.plan.settings().attempts {
            connection.stage = Stage::GivenUp;
            self.given_up += 1;
            return;
        }
        connection.stage = Stage::Waiting(self.now.after(retry_after(connection.failures)));
        if connection.failures == 0 {
            self.connect_again(index);
        }
    }

    fn connect_again(&mut self, index: u32) {
        if !self.schedule.is_over(self.now) {
            self.connect(index);
        }
    }

    /// Looks at every connection for a time that has passed.
    pub(super) fn sweep(&mut self) {
        let timeout = self.plan.settings().timeout;
        for index in 0..self.connections.len() as u32 {
            let connection = &self.connections[index as usize];
            match (connection.stage, connection.pending.front()) {
                (Stage::Waiting(until), _) if self.now >= until => self.connect_again(index),
                (Stage::Connecting(since), _) if self.now >= since.after(timeout) => {
                    self.fail(index, no_connection(&io::ErrorKind::TimedOut.into()));
                }
                (Stage::Open, Some(oldest)) if self.now >= oldest.sent.after(timeout) => {
                    let why = format!("no answer came within {timeout:?}");
                    self.fail(index, Failure { kind: ErrorKind::Timeout, why });
                }
                _ => {}
            }
        }
    }
}

fn no_connection(error: &io::Error) -> Failure {
    Failure { kind: ErrorKind::Connect, why: format!("no connection was made: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_second() {
        let waits_ms: Vec<u128> = (0..9).map(|failures| retry_after(failures).as_millis()).collect();
        assert_eq!(waits_ms, [0, 10, 20, 40, 80, 160, 320, 640, 1000]);
        assert_eq!(retry_after(u32::MAX), LAST_RETRY);
    }
}
