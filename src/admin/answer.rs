//! Answers as bytes: one a connection, which then ends.

use serde::Serialize;

use crate::agent::orders::OrderRefused;
use crate::http::{Reject, Status};

/// Nothing of another origin is loaded or sent to, and nothing is kept: what is shown is of this moment.
const PAGE_HEADERS: &str = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n";
const COMMON_HEADERS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";

/// What is said to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) body: Body,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Json(String),
    Page(String),
}

impl Answer {
    pub(super) fn json<T: Serialize>(status: Status, value: &T) -> Self {
        // Maps with keys of text and no floats that are not numbers: it can be written.
        let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        Self { status, body: Body::Json(text) }
    }

    pub(super) fn ok<T: Serialize>(value: &T) -> Self {
        Self::json(Status::Ok, value)
    }

    pub(super) const fn page(page: String) -> Self {
        Self { status: Status::Ok, body: Body::Page(page) }
    }
}

/// Why a question has no answer. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is none.
    #[error("{0}")]
    Http(Reject),
    /// Nothing has this path.
    #[error("nothing is here; try GET /v1/status, or GET /v1/buckets/{{policy}}/{{key}}")]
    NotFound,
    /// The path takes other methods.
    #[error("this path takes {0}")]
    MethodNotAllowed(&'static str),
    /// A body whose length is not said before.
    #[error("a body must come with Content-Length, not in chunks")]
    LengthRequired,
    /// The body is not what the path takes.
    #[error("{0}")]
    BadBody(String),
    /// No policy has this name.
    #[error("no policy has this name; policies are defined by [[policy]] in the configuration")]
    UnknownPolicy,
    /// The key cannot be one.
    #[error("the key must be 1 to 512 bytes, with every `%` followed by two hexadecimal digits")]
    BadKey,
    /// Too many ask at once.
    #[error("more than {0} questions at once; ask again")]
    Busy(usize),
    /// Too many asked in a short time.
    #[error("too many requests in a short time; ask again in a second")]
    TooFast,
    /// No token, or a wrong one.
    #[error("a right token is missing: send `Authorization: Bearer TOKEN`, with what is in {0}")]
    Unauthorized(&'static str),
    /// No signature of a webhook is right.
    #[error("no signature is right")]
    BadSignature,
    /// The token or secret cannot be read here.
    #[error("this server cannot read what it would compare with; its log says why")]
    NoSecret,
    /// The configuration has no such part.
    #[error("not configured: {0}")]
    NotConfigured(&'static str),
    /// The control plane does not turn.
    #[error("the control plane does not answer; see the server's log, and /health on the data port")]
    NoAnswer,
    /// The main thread does not turn, or stops.
    #[error("the server is busy or stopping and did not reload in time; ask again, or see its log")]
    NoReload,
    /// The new configuration has problems; the old one stays.
    #[error("reload refused, the old policies stay in force: {}", .0.join("; "))]
    ReloadRefused(Vec<String>),
    /// There is no agent.
    #[error("no agent is configured; add an [agent] section")]
    NoAgent,
    /// The agent's journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    NoJournal(String),
    /// How many lines are wanted is not clear.
    #[error("`last` must be a whole number from 1 to {0}, given once, and there is no other parameter")]
    BadLast(usize),
    /// The agent does not turn.
    #[error(
        "the agent did not answer within {0} s, so nobody knows whether it took this; ask `failover status`, \
         and see the server's log"
    )]
    AgentSilent(u64),
    /// The agent says no.
    #[error("{0}")]
    Order(OrderRefused),
}

impl Refusal {
    pub(super) const fn status(&self) -> Status {
        match self {
            Self::Http(reject) => reject.status(),
            Self::NotFound | Self::UnknownPolicy | Self::NotConfigured(_) => Status::NotFound,
            Self::MethodNotAllowed(_) => Status::MethodNotAllowed,
            Self::LengthRequired => Status::LengthRequired,
            Self::BadKey | Self::BadBody(_) | Self::BadLast(_) => Status::BadRequest,
            // Not 503: a witness that says so votes that it does not see the region.
            Self::Busy(_) | Self::TooFast => Status::TooManyRequests,
            Self::Unauthorized(_) | Self::BadSignature => Status::Unauthorized,
            Self::NoAnswer
            | Self::NoReload
            | Self::NoAgent
            | Self::NoJournal(_)
            | Self::NoSecret
            | Self::AgentSilent(_) => Status::ServiceUnavailable,
            Self::ReloadRefused(_) => Status::Conflict,
            Self::Order(refused) => order_status(refused),
        }
    }

    fn headers(&self) -> String {
        match self {
            Self::MethodNotAllowed(methods) => format!("Allow: {methods}\r\n"),
            // Basic is for browsers that look at the status page.
            Self::Unauthorized(_) => {
                let realm = "realm=\"openclaw-rating admin\"";
                format!("WWW-Authenticate: Bearer {realm}\r\nWWW-Authenticate: Basic {realm}\r\n")
            }
            Self::BadSignature => "WWW-Authenticate: Signature\r\n".to_owned(),
            Self::Busy(_) | Self::TooFast => "Retry-After: 1\r\n".to_owned(),
            _ => String::new(),
        }
    }
}

const fn order_status(refused: &OrderRefused) -> Status {
    match refused {
        OrderRefused::UnknownRegion { .. }
        | OrderRefused::NotConfigured { .. }
        | OrderRefused::NotProbed { .. } => Status::NotFound,
        OrderRefused::JournalFails { .. } => Status::ServiceUnavailable,
        _ => Status::Conflict,
    }
}

#[derive(Serialize)]
struct Problem<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'p OrderRefused>,
}

/// The whole answer to one question.
pub(super) fn render(outcome: &Result<Answer, Refusal>) -> Vec<u8> {
    match outcome {
        Ok(Answer { status, body: Body::Json(json) }) => whole(*status, "application/json", "", json),
        Ok(Answer { status, body: Body::Page(page) }) => {
            whole(*status, "text/html; charset=utf-8", PAGE_HEADERS, page)
        }
        Err(refusal) => render_refusal(refusal, refusal.status()),
    }
}

/// An answer to a witness's question. A 503 is a vote that the region is not seen, and who cannot tell
/// has none.
pub(super) fn render_witness(outcome: &Result<Answer, Refusal>) -> Vec<u8> {
    match outcome {
        Err(refusal) if refusal.status() == Status::ServiceUnavailable => {
            render_refusal(refusal, Status::GatewayTimeout)
        }
        _ => render(outcome),
    }
}

fn render_refusal(refusal: &Refusal, status: Status) -> Vec<u8> {
    let problem = Problem {
        r#type: "about:blank",
        title: status.reason(),
        status: status.code().parse().unwrap_or(0),
        detail: refusal.to_string(),
        refusal: match refusal {
            Refusal::Order(refused) => Some(refused),
            _ => None,
        },
    };
    let body = serde_json::to_string(&problem).unwrap_or_else(|_| "null".to_owned());
    whole(status, "application/problem+json", &refusal.headers(), &body)
}

fn whole(status: Status, kind: &str, more: &str, body: &str) -> Vec<u8> {
    let (line, length) = (status.line(), body.len() + 1);
    format!(
        "HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         {COMMON_HEADERS}{more}Connection: close\r\n\r\n{body}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::types::Region;

    fn text(outcome: &Result<Answer, Refusal>) -> String {
        String::from_utf8(render(outcome)).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_that_it_is_the_last() {
        let answer = text(&Ok(Answer::ok(&17)));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n17\n"), "{answer}");
        assert!(answer.contains("Content-Length: 3\r\n") && answer.contains("Connection: close\r\n"));
    }

    #[test]
    fn a_refusal_is_a_problem_in_words() {
        let answer = text(&Err(Refusal::MethodNotAllowed("GET")));
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
        assert!(answer.contains("Allow: GET\r\n") && answer.contains("\"detail\":\"this path takes GET\""));
        assert!(answer.contains("\"status\":405") && answer.contains("application/problem+json"));
        let answer = text(&Err(Refusal::Order(OrderRefused::NotFrozen)));
        assert!(
            answer.starts_with("HTTP/1.1 409 ")
                && answer.contains("\"refusal\":{\"refused\":\"not_frozen\"}"),
            "{answer}"
        );
    }

    #[test]
    fn a_witness_that_cannot_tell_has_no_vote() {
        let unknown = OrderRefused::UnknownRegion { region: Region("x".into()), known: vec![] };
        let not_probed = OrderRefused::NotProbed { region: Region("x".into()) };
        let fails = OrderRefused::JournalFails { why: String::new() };
        for refusal in [
            Refusal::NoAgent,
            Refusal::AgentSilent(2),
            Refusal::NoSecret,
            Refusal::Busy(8),
            Refusal::TooFast,
            Refusal::Order(unknown),
            Refusal::Order(not_probed),
            Refusal::Order(fails),
        ] {
            let answer = String::from_utf8(render_witness(&Err(refusal.clone()))).unwrap();
            assert!(!answer.starts_with("HTTP/1.1 503") && !answer.starts_with("HTTP/1.1 2"), "{refusal:?}");
        }
    }

    #[test]
    fn a_page_loads_nothing_from_elsewhere() {
        let answer = text(&Ok(Answer::page("<p>".to_owned())));
        assert!(answer.contains("Content-Type: text/html; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("default-src 'none'") && answer.contains("nosniff"), "{answer}");
    }
}
