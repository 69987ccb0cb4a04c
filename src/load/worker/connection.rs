//! One connection of a worker: where it is in its life, and what it is owed.

use std::collections::VecDeque;

use crate::load::record::{ErrorKind, Record};
use crate::load::response::{Answer, ResponseError, ResponseReader};
use crate::ring::SendBuffer;
use crate::time::MonotonicNs;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none; the next attempt is at this time.
    Waiting(MonotonicNs),
    /// It is being made, since this time.
    Connecting(MonotonicNs),
    /// Requests can be sent.
    Open,
    /// Nothing more is done; waits for the kernel to end its operations and to close.
    Closing,
    /// It failed too often in a row.
    GivenUp,
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// When it was due.
    pub(super) due: MonotonicNs,
    /// When it was written.
    pub(super) sent: MonotonicNs,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Self {
        Self { kind: ErrorKind::Protocol, why: error.to_string() }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stage: Stage,
    /// The kernel has a connect.
    pub(super) connecting: bool,
    /// The kernel has a multishot receive.
    pub(super) receiving: bool,
    /// Requests being written.
    pub(super) output: Option<SendBuffer>,
    /// Requests being sent.
    pub(super) sending: Option<SendBuffer>,
    /// Requests without an answer, the oldest first; answers come in this order.
    pub(super) pending: VecDeque<Pending>,
    pub(super) reader: ResponseReader,
    /// The server said that it ends the connection.
    pub(super) ends: bool,
    /// Something was answered since the connection was made.
    pub(super) was_answered: bool,
    /// Failures in a row, without an answer between them.
    pub(super) failures: u32,
    /// In the worker's queue of connections with room.
    pub(super) queued: bool,
}

impl Connection {
    /// One that is to be made at once, for `pipeline` requests at a time.
    pub(super) fn new(pipeline: u32) -> Self {
        Self {
            stage: Stage::Waiting(MonotonicNs(0)),
            connecting: false,
            receiving: false,
            output: None,
            sending: None,
            pending: VecDeque::with_capacity(pipeline as usize),
            reader: ResponseReader::default(),
            ends: false,
            was_answered: false,
            failures: 0,
            queued: false,
        }
    }

    /// Whether another request can be written.
    #[inline]
    pub(super) fn has_room(&self, pipeline: u32) -> bool {
        self.stage == Stage::Open
            && self.sending.is_none()
            && self.pending.len() < pipeline as usize
            && !self.ends
    }

    /// Whether the kernel has operations that refer to the connection.
    pub(super) const fn has_operations(&self) -> bool {
        self.connecting || self.receiving || self.sending.is_some()
    }

    /// Takes note of the answers in `bytes`; how many there are.
    ///
    /// # Errors
    /// When the bytes are no answers to what was asked.
    pub(super) fn take_answers(
        &mut self,
        mut bytes: &[u8],
        now: MonotonicNs,
        record: &mut Record,
    ) -> Result<u64, Failure> {
        let mut answers = 0;
        record.bytes_received += bytes.len() as u64;
        while !bytes.is_empty() {
            let read = self.reader.read(bytes)?;
            bytes = &bytes[read.consumed..];
            let Some(answer) = read.answer else { break };
            let Some(pending) = self.pending.pop_front() else { return Err(self.unasked(answer)) };
            record.answered(answer.status, now.since(pending.due));
            if answer.is_unexpected() {
                record.refused(|| self.reader.describe(answer));
            }
            answers += 1;
            if answer.closes {
                // Whatever follows is not to be believed (RFC 9112, 9.6).
                self.ends = true;
                break;
            }
        }
        if answers > 0 {
            self.was_answered = true;
            self.failures = 0;
        }
        Ok(answers)
    }

    /// A server that turns a connection away may say why before it is asked anything.
    fn unasked(&self, answer: Answer) -> Failure {
        let why = format!("{}: {}", ResponseError::Unasked, self.reader.describe(answer));
        Failure { kind: ErrorKind::Protocol, why }
    }

    /// Forgets the connection that was, but not how often it failed.
    pub(super) fn reset(&mut self) {
        self.pending.clear();
        self.reader = ResponseReader::default();
        self.ends = false;
        self.was_answered = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const LAST: &[u8] = b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    fn connection(due_ns: &[u64]) -> Connection {
        let mut connection = Connection::new(4);
        connection.stage = Stage::Open;
        connection.failures = 3;
        let pending = |ns: &u64| Pending { due: MonotonicNs(*ns), sent: MonotonicNs(9) };
        connection.pending.extend(due_ns.iter().map(pending));
        connection
    }

    #[test]
    fn answers_go_to_requests_in_order_and_count_from_when_they_were_due() {
        let (mut connection, mut record) = (connection(&[1000, 5000]), Record::new());
        let bytes = [ANSWER, ANSWER].concat();
        assert_eq!(connection.take_answers(&bytes, MonotonicNs(6000), &mut record).unwrap(), 2);
        assert_eq!((record.latency().min(), record.latency().max()), (1000, 5003), "to three digits");
        assert_eq!(connection.failures, 0);
    }

    #[test]
    fn the_first_refusal_is_kept_in_the_words_of_the_server() {
        let refusal = |status: u16, body: &str| {
            format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(5000));
        for (body, expected) in [
            ("{\"title\":\"a\",\"detail\":\"no\\n policy\"}", "status 404: no  policy"),
            ("<html>", "status 404"),
            (long.as_str(), "status 404"),
        ] {
            let (mut connection, mut record) = (connection(&[1, 2, 3]), Record::new());
            let bytes =
                [ANSWER.to_vec(), refusal(404, body), refusal(503, "{\"detail\":\"later\"}")].concat();
            for piece in bytes.chunks(7) {
                connection.take_answers(piece, MonotonicNs(6), &mut record).unwrap();
            }
            assert_eq!((record.answers(), record.first_error()), (3, Some(expected)));
        }
    }

    #[test]
    fn an_answer_to_nothing_is_an_error() {
        let (mut connection, mut record) = (connection(&[1]), Record::new());
        let bytes = [ANSWER, ANSWER].concat();
        let failure = connection.take_answers(&bytes, MonotonicNs(2), &mut record).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Protocol);
        assert!(failure.why.contains("nothing asked for: status 200"), "{}", failure.why);
        assert_eq!(record.answers(), 1);
    }

    #[test]
    fn a_server_that_turns_a_connection_away_is_quoted() {
        let (mut connection, mut record) = (connection(&[]), Record::new());
        let bytes = b"HTTP/1.1 503 No\r\nContent-Length: 17\r\n\r\n{\"detail\":\"full\"}";
        let failure = connection.take_answers(bytes, MonotonicNs(2), &mut record).unwrap_err();
        assert!(failure.why.ends_with("nothing asked for: status 503: full"), "{}", failure.why);
    }

    #[test]
    fn nothing_is_sent_or_read_after_the_last_answer() {
        let (mut connection, mut record) = (connection(&[1, 2]), Record::new());
        let bytes = [LAST, b"garbage"].concat();
        assert_eq!(connection.take_answers(&bytes, MonotonicNs(3), &mut record).unwrap(), 1);
        assert!(connection.ends && !connection.has_room(4));
    }
}
