//! Answers as bytes. All that an answer can contain is written here.
//!
//! Headers follow draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` says burst and the
//! seconds in which it fills, `RateLimit` what is left and the seconds over which it can be spent at the
//! rate, so that who divides the two (8.5) is never told more than the rate; of a denial, the seconds
//! until it can pass, which are those of `Retry-After` (6).

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use super::batch::BatchOutcome;
use super::check::Decided;
use super::problem::Problem;
use crate::data_plane::Refusal;
use crate::health::{Health, Reason, Warning};
use crate::http::{OutputBuffer, Reject, Status, decimal_digits};

/// Room for the answer of one check.
pub(super) const MAX_CHECK_BYTES: usize = 1024;
/// Room for any answer: that of a full batch is the largest.
pub(super) const MAX_ANSWER_BYTES: usize = 32 * 1024;

const MS_PER_SECOND: u64 = 1000;
/// What stands in the body of a check's answer beside its values.
const BODY_TEXT: usize =
    r#"{"allowed":,"policy":"","limit":,"remaining":,"reset_ms":,"retry_after_ms":}"#.len();
const SHADOW: &str = r#","shadow_denied":true"#;
const DATE_BYTES: usize = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".len();

/// What the connection is to do after an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Ends.
    pub(super) close: bool,
    /// The request was HTTP/1.0, which must be told that the connection stays.
    pub(super) is_http_10: bool,
    /// The answer has no body.
    pub(super) head_only: bool,
}

impl Envelope {
    /// Of the last answer of a connection, to the request that `input` begins with: what cannot be read whole may
    /// still say by its method that its client takes no content for an answer.
    fn last(input: &[u8]) -> Self {
        Self { close: true, head_only: input.starts_with(b"HEAD "), ..Self::default() }
    }
}

/// The `Date` header line, made once a second.
#[derive(Clone, Debug)]
pub(super) struct DateLine([u8; DATE_BYTES]);

impl DateLine {
    pub(super) fn at(unix_seconds: u64) -> Self {
        let mut line = [b' '; DATE_BYTES];
        let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(unix_seconds));
        // A year of five digits would not fit; the line is then cut, which is no worse than that year.
        let _ = std::io::Write::write_fmt(&mut line.as_mut_slice(), format_args!("Date: {date}\r\n"));
        Self(line)
    }
}

/// Writes answers with the date of now.
#[derive(Debug)]
pub(super) struct Renderer {
    pub(super) date: DateLine,
}

impl Renderer {
    /// The answer to one check.
    #[inline]
    pub(super) fn check(
        &self,
        out: &mut OutputBuffer<'_>,
        decided: &Decided<'_>,
        deny: Status,
        envelope: Envelope,
    ) {
        let status = if decided.answer.allowed { Status::Ok } else { deny };
        self.begin(out, status, "application/json", envelope);
        put_rate_limit(out, decided);
        if !decided.answer.allowed {
            put_denial(out, decided, status);
        }
        put_length(out, body_bytes(decided));
        if !envelope.head_only {
            put_body(out, decided);
        }
    }

    /// The answer to several checks. The headers tell of the one that is nearest its limit, or of the
    /// denied one that has to wait the longest: before that the others can pass as often as they like.
    pub(super) fn batch(
        &self,
        out: &mut OutputBuffer<'_>,
        outcome: &BatchOutcome<'_>,
        deny: Status,
        envelope: Envelope,
    ) {
        let status = if outcome.allowed { Status::Ok } else { deny };
        self.begin(out, status, "application/json", envelope);
        let nearest = outcome.checks.iter().max_by_key(|Decided { answer, .. }| {
            let used = answer.limit.saturating_sub(answer.remaining) * 1000 / answer.limit.max(1);
            (!answer.allowed, if answer.allowed { used } else { answer.retry_after_ms })
        });
        if let Some(decided) = nearest {
            put_rate_limit(out, decided);
            if !outcome.allowed {
                put_denial(out, decided, status);
            }
        }
        let list: usize = outcome.checks.iter().map(|decided| body_bytes(decided) + 1).sum();
        let head =
            if outcome.allowed { r#"{"allowed":true,"checks":["# } else { r#"{"allowed":false,"checks":["# };
        put_length(out, head.len() + list + 1);
        out.put(head.as_bytes());
        for (index, decided) in outcome.checks.iter().enumerate() {
            if index > 0 {
                out.put(b",");
            }
            put_body(out, decided);
        }
        out.put(b"]}");
    }

    pub(super) fn health(
        &self,
        out: &mut OutputBuffer<'_>,
        health: &Health,
        region: &str,
        version: &str,
        envelope: Envelope,
    ) {
        let good = health.is_good();
        let mut body = [0; MAX_CHECK_BYTES];
        let mut text = OutputBuffer::new(&mut body);
        text.put(if good {
            br#"{"status":"ok","region":""#
        } else {
            br#"{"status":"unavailable","region":""#
        });
        put_escaped(&mut text, region);
        text.put(br#"","version":""#);
        put_escaped(&mut text, version);
        text.put(br#"","reasons":["#);
        put_list(&mut text, health.reasons().map(Reason::label));
        text.put(br#"],"warnings":["#);
        put_list(&mut text, health.warnings().map(Warning::label));
        text.put(b"]}");
        let status = if good { Status::Ok } else { Status::ServiceUnavailable };
        self.begin(out, status, "application/json", envelope);
        put_content(out, text.written(), envelope);
    }

    /// The head of the metrics page; its body follows by other hands.
    pub(super) fn metrics_head(
        &self,
        out: &mut OutputBuffer<'_>,
        body_bytes: Option<usize>,
        envelope: Envelope,
    ) {
        self.begin(out, Status::Ok, "text/plain; version=0.0.4; charset=utf-8", envelope);
        match body_bytes {
            Some(bytes) => put_length(out, bytes),
            None => out.put(b"\r\n"),
        }
    }

    pub(super) fn problem(&self, out: &mut OutputBuffer<'_>, problem: &Problem, envelope: Envelope) {
        self.error(out, problem.status(), problem, problem.allow(), envelope);
    }

    /// The last answer of a connection, to the request that `input` begins with.
    pub(super) fn reject(&self, out: &mut OutputBuffer<'_>, reject: Reject, input: &[u8]) {
        self.error(out, reject.status(), &reject, None, Envelope::last(input));
    }

    /// The last answer of a client there is no room for.
    pub(super) fn refuse(&self, out: &mut OutputBuffer<'_>, refusal: Refusal, input: &[u8]) {
        let text = match refusal {
            Refusal::Connections => {
                "this server has as many connections as it may; try again, or keep connections open"
            }
            Refusal::PartialRequests => {
                "this server has as many requests in parts as it may; try again, or send a request in one \
                 piece"
            }
            Refusal::Metrics => "the metrics page cannot be made now; try again",
        };
        self.error(out, Status::ServiceUnavailable, &text, None, Envelope::last(input));
    }

    fn error(
        &self,
        out: &mut OutputBuffer<'_>,
        status: Status,
        detail: &dyn fmt::Display,
        allow: Option<&str>,
        envelope: Envelope,
    ) {
        let mut body = [0; 2 * MAX_CHECK_BYTES];
        let mut text = OutputBuffer::new(&mut body);
        text.put(br#"{"type":"about:blank","title":""#);
        text.put(status.reason().as_bytes());
        text.put(br#"","status":"#);
        text.put(status.code().as_bytes());
        text.put(br#","detail":""#);
        // Its writing never fails; a `Display` that does has nothing more to say.
        let _ = write!(Escaped(&mut text), "{detail}");
        text.put(b"\"}");
        self.begin(out, status, "application/problem+json", envelope);
        if let Some(methods) = allow {
            out.put(b"Allow: ");
            out.put(methods.as_bytes());
            out.put(b"\r\n");
        }
        put_content(out, text.written(), envelope);
    }

    /// Status line and the headers that every answer has. What was true of one request is not of the next, so that
    /// a cache must not answer in this server's place (RFC 9111, 5.2.2.5).
    #[inline]
    fn begin(&self, out: &mut OutputBuffer<'_>, status: Status, content_type: &str, envelope: Envelope) {
        out.put(b"HTTP/1.1 ");
        out.put(status.line().as_bytes());
        out.put(b"\r\n");
        out.put(&self.date.0);
        out.put(b"Content-Type: ");
        out.put(content_type.as_bytes());
        out.put(b"\r\nCache-Control: no-store\r\n");
        if envelope.close {
            out.put(b"Connection: close\r\n");
        } else if envelope.is_http_10 {
            out.put(b"Connection: keep-alive\r\n");
        }
    }
}

fn put_list(out: &mut OutputBuffer<'_>, items: impl Iterator<Item = &'static str>) {
    for (index, item) in items.enumerate() {
        out.put(if index > 0 { b",\"" } else { b"\"" });
        out.put(item.as_bytes());
        out.put(b"\"");
    }
}

#[inline]
fn put_rate_limit(out: &mut OutputBuffer<'_>, decided: &Decided<'_>) {
    out.put(b"RateLimit-Policy: ");
    if decided.limits.slot() == decided.policy.default_limits().slot() {
        out.put(decided.policy.policy_header().as_bytes());
    } else {
        put_name(out, decided);
        out.put(b";q=");
        out.put_decimal(decided.limits.burst());
        out.put(b";w=");
        out.put_decimal(decided.limits.window_seconds());
    }
    out.put(b"\r\nRateLimit: ");
    put_name(out, decided);
    out.put(b";r=");
    out.put_decimal(decided.answer.remaining);
    out.put(b";t=");
    out.put_decimal(match decided.answer.allowed {
        true => decided.limits.spending_seconds(decided.answer.remaining),
        false => retry_after_seconds(decided),
    });
    out.put(b"\r\n");
}

/// The policy's name as a structured-field string; its letters need no escape.
#[inline]
fn put_name(out: &mut OutputBuffer<'_>, decided: &Decided<'_>) {
    out.put(b"\"");
    out.put(decided.policy.name().as_bytes());
    out.put(b"\"");
}

fn retry_after_seconds(decided: &Decided<'_>) -> u64 {
    decided.answer.retry_after_ms.div_ceil(MS_PER_SECOND).max(1)
}

fn put_denial(out: &mut OutputBuffer<'_>, decided: &Decided<'_>, status: Status) {
    out.put(b"Retry-After: ");
    out.put_decimal(retry_after_seconds(decided));
    out.put(b"\r\n");
    if status == Status::Unauthorized {
        // RFC 9110, 15.5.2: a 401 must carry a challenge.
        out.put(b"WWW-Authenticate: RateLimit\r\n");
    }
}

/// Ends the head.
#[inline]
fn put_length(out: &mut OutputBuffer<'_>, bytes: usize) {
    out.put(b"Content-Length: ");
    out.put_decimal(bytes as u64);
    out.put(b"\r\n\r\n");
}

fn put_content(out: &mut OutputBuffer<'_>, content: &[u8], envelope: Envelope) {
    put_length(out, content.len());
    if !envelope.head_only {
        out.put(content);
    }
}

/// Length of what [`put_body`] writes.
#[inline]
fn body_bytes(decided: &Decided<'_>) -> usize {
    let answer = &decided.answer;
    let numbers = [answer.limit, answer.remaining, answer.reset_ms, answer.retry_after_ms];
    BODY_TEXT
        + if answer.allowed { 4 } else { 5 }
        + decided.policy.name().len()
        + numbers.into_iter().map(decimal_digits).sum::<usize>()
        + if decided.shadow_denied { SHADOW.len() } else { 0 }
}

#[inline]
fn put_body(out: &mut OutputBuffer<'_>, decided: &Decided<'_>) {
    let answer = &decided.answer;
    out.put(if answer.allowed {
        br#"{"allowed":true,"policy":""#
    } else {
        br#"{"allowed":false,"policy":""#
    });
    out.put(decided.policy.name().as_bytes());
    out.put(br#"","limit":"#);
    out.put_decimal(answer.limit);
    out.put(br#","remaining":"#);
    out.put_decimal(answer.remaining);
    out.put(br#","reset_ms":"#);
    out.put_decimal(answer.reset_ms);
    out.put(br#","retry_after_ms":"#);
    out.put_decimal(answer.retry_after_ms);
    if decided.shadow_denied {
        out.put(SHADOW.as_bytes());
    }
    out.put(b"}");
}

/// Writes inside a JSON string, as much as there is room for, and without a copy of it on the heap.
struct Escaped<'o, 'b>(&'o mut OutputBuffer<'b>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        put_escaped(self.0, text);
        Ok(())
    }
}

fn put_escaped(out: &mut OutputBuffer<'_>, text: &str) {
    const LONGEST_ESCAPE: usize = 6;
    const END: usize = 256;
    for character in text.chars() {
        if out.remaining() < LONGEST_ESCAPE + END {
            return;
        }
        match character {
            '"' => out.put(b"\\\""),
            '\\' => out.put(b"\\\\"),
            control if (control as u32) < 0x20 => {
                let digits = b"0123456789abcdef";
                let code = control as usize;
                out.put(&[b'\\', b'u', b'0', b'0', digits[code >> 4], digits[code & 15]]);
            }
            other => out.put(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}
