//! The head of one request: request line and header section, read strictly.
//!
//! `httparse` checks the grammar; what it lets pass (a bare LF) is caught by the line scan of
//! [`super::connection`], and what fields mean together is decided here.

use std::mem::MaybeUninit;

use super::HttpLimits;
use super::reject::Reject;
use super::target::{Target, is_host_field};

/// Most header fields of one request.
pub(super) const MAX_HEADERS: usize = 64;
/// A length of more digits is not worth reading: 10^18 is past every limit.
const MAX_LENGTH_DIGITS: usize = 18;

/// A method, as far as routes tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// DELETE
    Delete,
    /// Any other token.
    Other,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes; zero when the head says nothing.
    Length(usize),
    /// After the last chunk.
    Chunked,
}

/// The head of a request that may be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'i> {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Target<'i>,
    /// HTTP/1.0, where staying open must be said.
    pub is_http_10: bool,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

impl<'i> Head<'i> {
    /// Reads `bytes`, which end with the empty line.
    ///
    /// # Errors
    /// When the head breaks the grammar, can be read in two ways, or asks for what is not offered.
    pub fn parse(bytes: &'i [u8], limits: &HttpLimits) -> Result<Self, Reject> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete(read)) if read == bytes.len() => {
                let (Some(method), Some(target)) = (request.method, request.path) else {
                    return Err(Reject::BadRequestLine);
                };
                let is_http_10 = request.version == Some(0);
                Self::of(method.as_bytes(), target.as_bytes(), is_http_10, request.headers, limits)
            }
            Ok(_) => Err(Reject::BadRequestLine),
            Err(httparse::Error::Version) => Self::parse_later_minor(bytes, limits),
            Err(httparse::Error::NewLine) => Err(reject_of_line_end(bytes)),
            Err(error) => Err(reject_of(error)),
        }
    }

    /// Reads what a parser of 1.0 and 1.1 read up to the version: one of a later minor version means what it would
    /// in 1.1 (RFC 9110, 2.5).
    #[cold]
    fn parse_later_minor(bytes: &'i [u8], limits: &HttpLimits) -> Result<Self, Reject> {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Reject::BadRequestLine);
        };
        match version {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {}
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(Reject::UnknownVersion);
            }
            _ => return Err(Reject::BadRequestLine),
        }
        let fields = bytes[line.len()..].strip_prefix(b"\r\n").ok_or(Reject::BadLineEnd)?;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match httparse::parse_headers(fields, &mut headers).map_err(reject_of)? {
            httparse::Status::Complete((read, headers)) if read == fields.len() => {
                Self::of(method, target, false, headers, limits)
            }
            _ => Err(Reject::BadRequestLine),
        }
    }

    #[inline]
    fn of(
        method: &[u8],
        target: &'i [u8],
        is_http_10: bool,
        headers: &[httparse::Header<'_>],
        limits: &HttpLimits,
    ) -> Result<Self, Reject> {
        let mut fields = Fields::default();
        for header in headers {
            fields.take(header.name.as_bytes(), header.value)?;
        }
        let target = Target::parse(target).or_else(|reject| match (method, target) {
            (b"OPTIONS", b"*") => Ok(Target::ASTERISK),
            _ => Err(reject),
        })?;
        fields.check_host(is_http_10)?;
        Ok(Self {
            method: method_of(method),
            target,
            is_http_10,
            keep_alive: !fields.close && (!is_http_10 || fields.keep_alive),
            framing: fields.framing(is_http_10, limits)?,
            expects_continue: fields.expects_continue && !is_http_10,
        })
    }
}

/// The value of the only field `name` in a head that [`Head::parse`] took; `None` when there is no such
/// field, and when there are several: which of them is meant nobody can say.
#[must_use]
pub fn only_field<'i>(head: &'i [u8], name: &str) -> Option<&'i [u8]> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).ok()?;
    let mut named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let value = named.next()?.value;
    named.next().is_none().then_some(value)
}

fn method_of(token: &[u8]) -> Method {
    match token {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"DELETE" => Method::Delete,
        _ => Method::Other,
    }
}

fn reject_of(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::HeaderName => Reject::BadHeaderName,
        httparse::Error::HeaderValue => Reject::BadHeaderValue,
        httparse::Error::NewLine => Reject::BadLineEnd,
        httparse::Error::TooManyHeaders => Reject::HeadersTooLarge,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => Reject::BadRequestLine,
    }
}

/// The parser wants a line to end where something else stands: that is half of a line end, or more than belongs there.
#[cold]
fn reject_of_line_end(bytes: &[u8]) -> Reject {
    let stands_alone = |at: usize| bytes.get(at + 1) != Some(&b'\n');
    let is_half = memchr::memchr_iter(b'\r', bytes).any(stands_alone);
    if is_half { Reject::BadLineEnd } else { Reject::BadRequestLine }
}

/// The members of a field value that is a list.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
}

/// The transfer codings so far, in the order in which they were applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Codings {
    #[default]
    None,
    Chunked,
    /// Others than `chunked`.
    Others,
    /// Others, and `chunked` last.
    OthersThenChunked,
    /// Something behind `chunked`.
    Endless,
}

impl Codings {
    fn then(self, coding: &[u8]) -> Self {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        match (self, is_chunked) {
            (Self::None, true) => Self::Chunked,
            (Self::None | Self::Others, false) => Self::Others,
            (Self::Others, true) => Self::OthersThenChunked,
            (Self::Chunked | Self::OthersThenChunked | Self::Endless, _) => Self::Endless,
        }
    }
}

/// The fields that decide how a request is framed, as they come in.
#[derive(Debug, Default)]
struct Fields {
    hosts: u32,
    length: Option<usize>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Fields {
    #[inline]
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reject> {
        // The length tells nearly all other fields from these at once.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.codings = members(value).fold(self.codings, Codings::then);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Reject> {
        self.hosts += 1;
        if is_host_field(value) { Ok(()) } else { Err(Reject::BadHost) }
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Reject> {
        for expectation in members(value).filter(|expectation| !expectation.is_empty()) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Reject::UnknownExpectation);
            }
            self.expects_continue = true;
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        // A repeated length is refused also when both agree: no client has a reason to send it.
        if self.length.is_some() || !(1..=MAX_LENGTH_DIGITS).contains(&value.len()) {
            return Err(Reject::BadContentLength);
        }
        let mut length = 0_usize;
        for digit in value {
            if !digit.is_ascii_digit() {
                return Err(Reject::BadContentLength);
            }
            length = length * 10 + usize::from(digit - b'0');
        }
        self.length = Some(length);
        Ok(())
    }

    fn check_host(&self, is_http_10: bool) -> Result<(), Reject> {
        match self.hosts {
            1 => Ok(()),
            0 if is_http_10 => Ok(()),
            _ => Err(Reject::BadHost),
        }
    }

    fn framing(&self, is_http_10: bool, limits: &HttpLimits) -> Result<Framing, Reject> {
        match (self.codings, self.length) {
            (Codings::None, Some(length)) if length > limits.max_body_bytes => Err(Reject::BodyTooLarge),
            (Codings::None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (Codings::Chunked, None) if !is_http_10 => Ok(Framing::Chunked),
            (Codings::OthersThenChunked, None) if !is_http_10 => Err(Reject::UnknownCoding),
            // Also where `chunked` is not the last: then nobody can say where the body ends (RFC 9112, 6.3).
            _ => Err(Reject::AmbiguousBody),
        }
    }
}
