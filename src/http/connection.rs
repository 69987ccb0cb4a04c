//! Requests out of the bytes of a connection.

use super::HttpLimits;
use super::chunked::{ChunkScanner, is_token};
use super::head::{Framing, Head};
use super::reject::Reject;

/// How far a connection has come in the request at hand.
///
/// The caller keeps unfinished bytes and offers them again with what followed; this remembers what was
/// already looked at, so that a client that drips bytes costs no more than one that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionState {
    phase: Phase,
    requests: u64,
    blank_line_skipped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Looking for the empty line; lines before `line_start` are whole, bytes before `searched` hold
    /// no further line end.
    Head { line_start: usize, searched: usize },
    /// The head is whole, the body is not.
    Body { head_bytes: usize, framing: BodyFraming, must_continue: bool },
    /// A request is taken whose answer another thread prepares.
    Waiting { close: bool, is_http_10: bool },
    /// The last answer is given.
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyFraming {
    Length(usize),
    Chunked(ChunkScanner),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Head { line_start: 0, searched: 0 }
    }
}

/// A request, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'i> {
    /// Its head.
    pub head: Head<'i>,
    /// Its body, as sent.
    pub body: Body<'i>,
    /// The bytes it takes of the input.
    pub bytes: usize,
}

/// A body as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'i> {
    /// The content itself.
    Plain(&'i [u8]),
    /// The content in chunks, known to be well formed.
    Chunked(&'i [u8]),
}

impl<'i> Body<'i> {
    /// The content in one piece; chunks are put together in `scratch`.
    pub fn content<'s>(self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'i: 's,
    {
        match self {
            Self::Plain(content) => content,
            Self::Chunked(coded) => {
                scratch.clear();
                let whole = ChunkScanner::new()
                    .advance(coded, coded.len() + 1, |piece| scratch.extend_from_slice(piece));
                debug_assert_eq!(whole, Ok(Some(coded.len())));
                scratch
            }
        }
    }
}

/// What the bytes at hand amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'i> {
    /// A whole request.
    Complete(Request<'i>),
    /// The beginning of one, or nothing.
    Partial,
    /// The head of one whose client waits for `100 Continue`.
    AwaitsContinue,
}

impl ConnectionState {
    /// Makes the state fit for another connection.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Requests taken so far.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether the last answer is given.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether the head of a request is whole and its body is not.
    #[must_use]
    pub const fn reads_body(&self) -> bool {
        matches!(self.phase, Phase::Body { .. })
    }

    /// Whether a request is taken and its answer outstanding.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// Nothing more is read.
    pub(crate) fn close(&mut self) {
        self.phase = Phase::Closed;
    }

    /// An answer of the request at hand comes later.
    pub(crate) fn wait(&mut self, close: bool, is_http_10: bool) {
        self.phase = Phase::Waiting { close, is_http_10 };
    }

    /// The answer that was outstanding is there: whether the connection closes, and whether the
    /// request was HTTP/1.0. Nothing when none was outstanding.
    pub(crate) fn take_waiting(&mut self) -> Option<(bool, bool)> {
        let Phase::Waiting { close, is_http_10 } = self.phase else { return None };
        self.phase = if close { Phase::Closed } else { Phase::default() };
        Some((close, is_http_10))
    }

    /// `100 Continue` is on its way.
    pub(crate) fn continue_sent(&mut self) {
        if let Phase::Body { must_continue, .. } = &mut self.phase {
            *must_continue = false;
        }
    }

    /// The request at hand is taken; the next begins.
    pub(crate) fn request_taken(&mut self) {
        self.phase = Phase::default();
        self.requests += 1;
        self.blank_line_skipped = false;
    }

    /// Bytes of one empty line before a request, which is to be ignored (RFC 9112, 2.2).
    #[inline]
    pub(crate) fn skip_blank_line(&mut self, input: &[u8]) -> usize {
        // Its first byte may have been looked at already, when it came alone.
        let is_first = matches!(self.phase, Phase::Head { line_start: 0, searched: ..=1 });
        if is_first && !self.blank_line_skipped && input.starts_with(b"\r\n") {
            (self.phase, self.blank_line_skipped) = (Phase::default(), true);
            return super::BLANK_LINE_BYTES;
        }
        0
    }

    /// The next request in `input`, which begins where the last one ended.
    ///
    /// # Errors
    /// When the bytes are no request that may be believed; the connection must be closed then.
    #[inline]
    pub fn next_request<'i>(&mut self, input: &'i [u8], limits: &HttpLimits) -> Result<Frame<'i>, Reject> {
        if let Phase::Head { .. } = self.phase {
            let Some(head_bytes) = self.find_head_end(input, limits)? else { return Ok(Frame::Partial) };
            let head = Head::parse(&input[..head_bytes], limits)?;
            if head.framing == Framing::Length(0) {
                return Ok(Frame::Complete(Request { head, body: Body::Plain(&[]), bytes: head_bytes }));
            }
            self.phase = Phase::Body {
                head_bytes,
                framing: match head.framing {
                    Framing::Length(length) => BodyFraming::Length(length),
                    Framing::Chunked => BodyFraming::Chunked(ChunkScanner::new()),
                },
                // A client that already sends its body waits for nothing.
                must_continue: head.expects_continue && input.len() == head_bytes,
            };
        }
        self.read_body(input, limits)
    }

    fn read_body<'i>(&mut self, input: &'i [u8], limits: &HttpLimits) -> Result<Frame<'i>, Reject> {
        let Phase::Body { head_bytes, framing, must_continue } = &mut self.phase else {
            return Ok(Frame::Partial);
        };
        let sent = &input[*head_bytes..];
        if *must_continue && sent.is_empty() {
            return Ok(Frame::AwaitsContinue);
        }
        let body = match framing {
            BodyFraming::Length(length) => sent.get(..*length).map(Body::Plain),
            BodyFraming::Chunked(scanner) => {
                scanner.advance(sent, limits.max_body_bytes, |_| {})?.map(|end| Body::Chunked(&sent[..end]))
            }
        };
        let Some(body) = body else { return Ok(Frame::Partial) };
        let (Body::Plain(coded) | Body::Chunked(coded)) = body;
        let bytes = *head_bytes + coded.len();
        let head = Head::parse(&input[..*head_bytes], limits)?;
        Ok(Frame::Complete(Request { head, body, bytes }))
    }

    /// Bytes up to and with the empty line, and that every line ends in CR LF.
    fn find_head_end(&mut self, input: &[u8], limits: &HttpLimits) -> Result<Option<usize>, Reject> {
        let Phase::Head { mut line_start, mut searched } = self.phase else { return Ok(None) };
        let window = &input[..input.len().min(limits.max_header_bytes)];
        // Who speaks another protocol, as TLS, waits for an answer before it sends anything like the end of a line.
        if searched == 0
            && window.first().is_some_and(|byte| !is_token(*byte) && !matches!(byte, b'\r' | b'\n'))
        {
            return Err(Reject::BadRequestLine);
        }
        while let Some(offset) = memchr::memchr(b'\n', &window[searched..]) {
            let line_end = searched + offset;
            if line_start == 0 {
                check_target_length(&window[..line_end], limits)?;
            }
            if line_end == line_start || window[line_end - 1] != b'\r' {
                return Err(Reject::BadLineEnd);
            }
            if line_end - 1 == line_start {
                return if line_start == 0 { Err(Reject::BadRequestLine) } else { Ok(Some(line_end + 1)) };
            }
            searched = line_end + 1;
            line_start = searched;
        }
        if line_start == 0 {
            check_target_length(window, limits)?;
        }
        if window.len() == limits.max_header_bytes {
            return Err(Reject::HeadersTooLarge);
        }
        self.phase = Phase::Head { line_start, searched: window.len() };
        Ok(None)
    }
}

/// Looks at the request line, finished or not, for a target that is past its limit already.
#[inline]
fn check_target_length(line: &[u8], limits: &HttpLimits) -> Result<(), Reject> {
    if line.len() <= limits.max_target_bytes {
        return Ok(());
    }
    let Some(space) = memchr::memchr(b' ', line) else { return Ok(()) };
    let target = &line[space + 1..];
    if target.len() <= limits.max_target_bytes {
        return Ok(());
    }
    match memchr::memchr(b' ', &target[..=limits.max_target_bytes]) {
        Some(_) => Ok(()),
        None => Err(Reject::TargetTooLong),
    }
}
