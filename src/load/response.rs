//! Reading answers: HTTP/1.1 responses out of a stream that may be cut anywhere.
//!
//! A body is counted, not kept, unless it says what is wrong; of a head that is not complete at most
//! [`MAX_HEAD_BYTES`] are kept.

use std::mem;

use serde::Deserialize;

/// The longest head that is read.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The longest body that is skipped.
const MAX_BODY_BYTES: u64 = 16 << 20;
/// What is kept of a body that says what is wrong.
const MAX_PROBLEM_BYTES: usize = 1024;
/// Most fields of a head.
const MAX_FIELDS: usize = 64;

/// A complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// Whether the server ends the connection after it.
    pub(super) closes: bool,
}

impl Answer {
    /// Whether it is neither yes nor no.
    pub(super) const fn is_unexpected(self) -> bool {
        !matches!(self.status, 200 | 429)
    }
}

/// Why a stream is no sequence of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ResponseError {
    #[error("the answer is not HTTP/1.1 ({0})")]
    NotHttp(httparse::Error),
    #[error("the head of the answer is longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    #[error("the body of the answer is longer than {MAX_BODY_BYTES} bytes")]
    BodyTooLong,
    #[error("the answer's body is chunked, which is not read here: is this the server it should be?")]
    Chunked,
    #[error("the answer has no Content-Length, so its end is not known")]
    NoLength,
    #[error("the answer has a Content-Length that is not one number")]
    BadLength,
    #[error("the answer switches protocols, which was not asked for")]
    Switches,
    #[error("there is an answer that nothing asked for")]
    Unasked,
}

/// How far a read came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes used up: all of them, unless an answer ended before.
    pub(super) consumed: usize,
    /// The answer that ended there.
    pub(super) answer: Option<Answer>,
}

/// A reader of one connection's answers.
#[derive(Debug, Default)]
pub(super) struct ResponseReader {
    /// The beginning of a head whose rest has not arrived.
    head: Vec<u8>,
    body: Option<Body>,
    /// The beginning of the last body that says what is wrong.
    problem: Vec<u8>,
}

/// An answer whose head was read.
#[derive(Clone, Copy, Debug)]
struct Body {
    answer: Answer,
    remaining: u64,
    /// An interim response (1xx): the answer is still to come.
    interim: bool,
}

impl ResponseReader {
    /// Reads up to the end of one answer.
    ///
    /// # Errors
    /// When no answer can be found any more; the stream is of no use then.
    #[inline]
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Read, ResponseError> {
        let mut consumed = 0;
        loop {
            let body = match self.body.take() {
                Some(body) => body,
                None => match self.read_head(&input[consumed..])? {
                    Some((bytes, body)) => {
                        consumed += bytes;
                        self.problem.clear();
                        body
                    }
                    None => return Ok(Read { consumed: input.len(), answer: None }),
                },
            };
            let skipped = body.remaining.min((input.len() - consumed) as u64);
            if body.answer.is_unexpected() {
                let room = MAX_PROBLEM_BYTES - self.problem.len();
                self.problem.extend_from_slice(&input[consumed..][..room.min(skipped as usize)]);
            }
            consumed += skipped as usize;
            if skipped < body.remaining {
                self.body = Some(Body { remaining: body.remaining - skipped, ..body });
                return Ok(Read { consumed, answer: None });
            }
            if !body.interim {
                return Ok(Read { consumed, answer: Some(body.answer) });
            }
        }
    }

    /// An unexpected answer, just read, in words: its status, and what is wrong in the server's own.
    pub(super) fn describe(&self, answer: Answer) -> String {
        match self.detail() {
            Some(detail) => format!("status {}: {detail}", answer.status),
            None => format!("status {}", answer.status),
        }
    }

    /// What is wrong, if the last answer was unexpected and says so.
    fn detail(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Problem {
            detail: String,
        }
        let Problem { detail } = serde_json::from_slice(&self.problem).ok()?;
        // It goes to a terminal.
        Some(detail.replace(char::is_control, " "))
    }

    /// Reads a head that ends in `input`, and how many bytes of it that took, or keeps what there is.
    fn read_head(&mut self, input: &[u8]) -> Result<Option<(usize, Body)>, ResponseError> {
        let kept = self.head.len();
        if kept == 0 {
            let window = &input[..input.len().min(MAX_HEAD_BYTES)];
            return match parse_head(window)? {
                Some(head) => Ok(Some(head)),
                None => self.keep(window).map(|()| None),
            };
        }
        let window = &input[..input.len().min(MAX_HEAD_BYTES - kept)];
        self.head.extend_from_slice(window);
        let mut head = mem::take(&mut self.head);
        let parsed = parse_head(&head)?;
        match parsed {
            Some((bytes, body)) => {
                // The room is kept for the next head that is cut.
                head.clear();
                self.head = head;
                Ok(Some((bytes - kept, body)))
            }
            None if head.len() == MAX_HEAD_BYTES => Err(ResponseError::HeadTooLong),
            None => {
                self.head = head;
                Ok(None)
            }
        }
    }

    fn keep(&mut self, window: &[u8]) -> Result<(), ResponseError> {
        if window.len() == MAX_HEAD_BYTES {
            return Err(ResponseError::HeadTooLong);
        }
        self.head.extend_from_slice(window);
        Ok(())
    }
}

/// Where the head at the start of `input` ends, and what it says; nothing while it is incomplete.
fn parse_head(input: &[u8]) -> Result<Option<(usize, Body)>, ResponseError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let bytes = match response.parse(input).map_err(ResponseError::NotHttp)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let framing = Framing::of(response.version == Some(0), response.headers)?;
    let remaining = match (status, framing.length) {
        (101, _) => return Err(ResponseError::Switches),
        // These have no body, whatever the fields say (RFC 9112, 6.3).
        (100..=199 | 204 | 304, _) => 0,
        (_, Some(length)) if length > MAX_BODY_BYTES => return Err(ResponseError::BodyTooLong),
        (_, Some(length)) => length,
        (_, None) => return Err(ResponseError::NoLength),
    };
    let answer = Answer { status, closes: framing.closes };
    Ok(Some((bytes, Body { answer, remaining, interim: (100..=199).contains(&status) })))
}

/// What the fields say of the end of the body and of the connection.
struct Framing {
    length: Option<u64>,
    closes: bool,
}

impl Framing {
    fn of(is_http_1_0: bool, fields: &[httparse::Header<'_>]) -> Result<Self, ResponseError> {
        let mut framing = Self { length: None, closes: is_http_1_0 };
        for field in fields {
            if field.name.eq_ignore_ascii_case("content-length") {
                let length = parse_length(field.value).ok_or(ResponseError::BadLength)?;
                if framing.length.is_some_and(|other| other != length) {
                    return Err(ResponseError::BadLength);
                }
                framing.length = Some(length);
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                return Err(ResponseError::Chunked);
            } else if field.name.eq_ignore_ascii_case("connection") {
                for option in field.value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        framing.closes = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        framing.closes = false;
                    }
                }
            }
        }
        Ok(framing)
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
