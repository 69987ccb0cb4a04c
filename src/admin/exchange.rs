//! One question and one answer on one connection, each within a time.

use std::io;
use std::time::{Duration, Instant};

use super::answer::{self, Answer, Refusal};
use super::caller::Caller;
use super::desk::Desk;
use super::listener::Stream;
use super::places::Place;
use super::route::{Access, MAX_BODY_BYTES, Route};
use crate::agent::pager::webhook::SIGNATURE_HEADER;
use crate::http::{ConnectionState, Frame, Framing, Head, HttpLimits, Reject, only_field};

/// A question has so long to arrive, and its answer as long to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long, and how much, is still read from a connection that has its answer.
const LINGER: Duration = Duration::from_millis(50);
const MOST_UNREAD: usize = 128 << 10;
const READ_BYTES: usize = 4096;
const LIMITS: HttpLimits = HttpLimits {
    max_header_bytes: 8192,
    max_target_bytes: 4096,
    max_body_bytes: MAX_BODY_BYTES,
    max_requests_per_connection: 1,
};

/// A complete request and its sender.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) route: Route,
    pub(super) caller: Caller,
    pub(super) body: Vec<u8>,
    /// What a webhook says that it is signed by.
    pub(super) signature: Option<String>,
}

/// Why there is nothing to answer.
enum Unanswered {
    /// The other end went away.
    Gone,
    /// It is told why, as a witness is told when it asked as one.
    Refused { refusal: Refusal, as_witness: bool },
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, as_witness: false }
    }
}

/// Reads a question, has it answered, and ends the connection.
pub(super) fn answer_one(place: &Place, caller: Caller, desk: &Desk) {
    let (outcome, as_witness) = match read_question(place, caller, desk) {
        Ok(question) => {
            let as_witness = matches!(question.route, Route::Witness { .. });
            (desk.answer(&question), as_witness)
        }
        Err(Unanswered::Gone) => return,
        Err(Unanswered::Refused { refusal, as_witness }) => (Err(refusal), as_witness),
    };
    let bytes = if as_witness { answer::render_witness(&outcome) } else { answer::render(&outcome) };
    give(place.stream(), &bytes);
    place.offer();
    linger(place.stream(), || place.gives_way());
}

/// Answers 429 to a connection over the limit.
pub(super) fn turn_away(stream: &Stream, most: usize) {
    give(stream, &answer::render(&Err::<Answer, _>(Refusal::Busy(most))));
    linger(stream, || false);
}

fn read_question(place: &Place, caller: Caller, desk: &Desk) -> Result<Question, Unanswered> {
    let until = Instant::now() + PATIENCE;
    let mut input = Vec::new();
    let head_bytes = read_head(place, &mut input, until)?;
    place.keep()?;
    let head = Head::parse(&input[..head_bytes], &LIMITS).map_err(Refusal::Http)?;
    let route = Route::of(&head)?;
    let as_witness = matches!(route, Route::Witness { .. });
    let refused = |refusal| Unanswered::Refused { refusal, as_witness };
    // Before the body: who may not ask is not listened to.
    if matches!(caller, Caller::Remote(_)) {
        let authorization = only_field(&input[..head_bytes], "authorization");
        desk.gate().admit(&route, authorization).map_err(refused)?;
    }
    let Framing::Length(length) = head.framing else { return Err(refused(Refusal::LengthRequired)) };
    if length > route.max_body_bytes() {
        return Err(refused(Refusal::Http(Reject::BodyTooLarge)));
    }
    let signature = only_field(&input[..head_bytes], SIGNATURE_HEADER);
    let signature = signature.map(|value| String::from_utf8_lossy(value).into_owned());
    if head.expects_continue && input.len() == head_bytes {
        write_all(place.stream(), b"HTTP/1.1 100 Continue\r\n\r\n", until).map_err(|_| Unanswered::Gone)?;
    }
    // Who was held back for a wrong token does not come here; the time for the body begins now.
    let until = Instant::now() + PATIENCE;
    // Who signs shows by the body who it is.
    if route.access() == Access::Signed {
        place.offer();
    }
    while input.len() < head_bytes + length {
        read_more(place, &mut input, until)?;
    }
    place.keep()?;
    let body = input[head_bytes..head_bytes + length].to_vec();
    Ok(Question { route, caller, body, signature })
}

/// Reads until the head is whole, and says how long it is.
fn read_head(place: &Place, input: &mut Vec<u8>, until: Instant) -> Result<usize, Unanswered> {
    let mut state = ConnectionState::default();
    loop {
        let frame = state.next_request(input, &LIMITS).map_err(Refusal::Http)?;
        if !matches!(frame, Frame::Partial) || state.reads_body() {
            // The empty line that was found by the strict reader is the first there is.
            let end = memchr::memmem::find(input, b"\r\n\r\n").map(|at| at + 4);
            return end.ok_or(Unanswered::from(Refusal::Http(Reject::BadLineEnd)));
        }
        read_more(place, input, until)?;
    }
}

fn read_more(place: &Place, input: &mut Vec<u8>, until: Instant) -> Result<(), Unanswered> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Refusal::Http(Reject::Timeout).into());
    }
    let mut buffer = [0; READ_BYTES];
    match place.stream().read_within(&mut buffer, left) {
        _ if place.gives_way() => Err(place.busy().into()),
        Ok(0) => Err(Unanswered::Gone),
        Ok(bytes) => {
            input.extend_from_slice(&buffer[..bytes]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) if is_timeout(&error) => Err(Refusal::Http(Reject::Timeout).into()),
        Err(_) => Err(Unanswered::Gone),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn write_all(stream: &Stream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match stream.write_within(bytes, left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Answers. Who asked may have gone; nobody else wants the answer.
fn give(stream: &Stream, bytes: &[u8]) {
    let _ = write_all(stream, bytes, Instant::now() + PATIENCE);
    stream.end_writing();
}

/// Takes what is still being sent: a socket that is closed over unread bytes is reset, and the answer with it.
fn linger(stream: &Stream, is_over: impl Fn() -> bool) {
    let mut unread = [0; READ_BYTES];
    for _ in 0..MOST_UNREAD / READ_BYTES {
        if is_over() || !matches!(stream.read_within(&mut unread, LINGER), Ok(bytes) if bytes > 0) {
            return;
        }
    }
}
