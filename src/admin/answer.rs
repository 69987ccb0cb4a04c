//! Answers as bytes: one a connection, which then ends.

use serde::Serialize;

use crate::http::{Reject, Status};

/// Why a question has no answer. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is none.
    #[error("{0}")]
    Http(Reject),
    /// Nothing has this path.
    #[error("nothing is here; try GET /v1/buckets/{{policy}}/{{key}}")]
    NotFound,
    /// The path takes other methods.
    #[error("this path takes {0}")]
    MethodNotAllowed(&'static str),
    /// No policy has this name.
    #[error("no policy has this name; policies are defined by [[policy]] in the configuration")]
    UnknownPolicy,
    /// The key cannot be one.
    #[error("the key must be 1 to 512 bytes, with every `%` followed by two hexadecimal digits")]
    BadKey,
    /// Too many ask at once.
    #[error("more than {0} questions at once; ask again")]
    Busy(usize),
    /// The control plane does not turn.
    #[error("the control plane does not answer; see the server's log, and /health on the data port")]
    NoAnswer,
}

impl Refusal {
    pub(super) const fn status(&self) -> Status {
        match self {
            Self::Http(reject) => reject.status(),
            Self::NotFound | Self::UnknownPolicy => Status::NotFound,
            Self::MethodNotAllowed(_) => Status::MethodNotAllowed,
            Self::BadKey => Status::BadRequest,
            Self::Busy(_) | Self::NoAnswer => Status::ServiceUnavailable,
        }
    }
}

#[derive(Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

/// The whole answer to one question.
pub(super) fn render<T: Serialize>(outcome: &Result<T, Refusal>) -> Vec<u8> {
    match outcome {
        Ok(found) => whole(Status::Ok, "application/json", "", found),
        Err(refusal) => {
            let status = refusal.status();
            let problem = Problem {
                r#type: "about:blank",
                title: status.reason(),
                status: status.code().parse().unwrap_or(0),
                detail: refusal.to_string(),
            };
            let allow = match refusal {
                Refusal::MethodNotAllowed(methods) => format!("Allow: {methods}\r\n"),
                _ => String::new(),
            };
            whole(status, "application/problem+json", &allow, &problem)
        }
    }
}

fn whole<T: Serialize>(status: Status, kind: &str, more: &str, body: &T) -> Vec<u8> {
    // Maps with keys of text and no floats that are not numbers: it can be written.
    let body = serde_json::to_string(body).unwrap_or_else(|_| "null".to_owned());
    let (line, length) = (status.line(), body.len() + 1);
    format!(
        "HTTP/1.1 {line}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{body}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(outcome: &Result<u32, Refusal>) -> String {
        String::from_utf8(render(outcome)).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_that_it_is_the_last() {
        let answer = text(&Ok(17));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n17\n"), "{answer}");
        assert!(answer.contains("Content-Length: 3\r\n") && answer.contains("Connection: close\r\n"));
    }

    #[test]
    fn a_refusal_is_a_problem_in_words() {
        let answer = text(&Err(Refusal::MethodNotAllowed("GET")));
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
        assert!(answer.contains("Allow: GET\r\n") && answer.contains("\"detail\":\"this path takes GET\""));
        assert!(answer.contains("\"status\":405") && answer.contains("application/problem+json"));
    }
}
