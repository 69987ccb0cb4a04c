//! The other end of the admin socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::bucket::BucketReport;

/// Longer than the server takes for the slowest answer.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Why there is no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no server answers on {path}: {source}. Is it running, with `[admin] socket` (or `[state] directory`) set as here? Name its socket by --socket PATH"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke off.
    #[error("the server on {path} did not answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It says what is not understood.
    #[error("the server on {0} answers in a way that this program does not know; are both of one version?")]
    NotUnderstood(PathBuf),
}

/// Asks the server at `socket` for one bucket.
///
/// # Errors
/// When nobody answers, or says no.
pub fn bucket(socket: &Path, policy: &str, key: &[u8]) -> Result<BucketReport, AskError> {
    get(socket, &format!("/v1/buckets/{}/{}", percent_encode(policy.as_bytes()), percent_encode(key)))
}

fn get<T: for<'d> Deserialize<'d>>(socket: &Path, target: &str) -> Result<T, AskError> {
    let stream = UnixStream::connect(socket)
        .map_err(|source| AskError::Unreachable { path: socket.to_owned(), source })?;
    let answer =
        exchange(stream, target).map_err(|source| AskError::Broken { path: socket.to_owned(), source })?;
    read_answer(&answer).unwrap_or_else(|| Err(AskError::NotUnderstood(socket.to_owned())))
}

fn exchange(mut stream: UnixStream, target: &str) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    Ok(answer)
}

/// `None` for what is no answer of ours.
fn read_answer<T: for<'d> Deserialize<'d>>(answer: &[u8]) -> Option<Result<T, AskError>> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(answer).ok()? else { return None };
    let body = answer.get(head_bytes..)?;
    match response.code? {
        200 => serde_json::from_slice(body).ok().map(Ok),
        _ => {
            let Problem { detail } = serde_json::from_slice(body).ok()?;
            Some(Err(AskError::Refused(detail)))
        }
    }
}

/// Everything but the unreserved characters (RFC 3986, 2.3) as `%XX`.
fn percent_encode(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_whatever_they_hold() {
        assert_eq!(percent_encode(b"a-Z.9_~"), "a-Z.9_~");
        assert_eq!(percent_encode("ü/ %".as_bytes()), "%C3%BC%2F%20%25");
    }

    #[test]
    fn a_refusal_arrives_in_the_words_of_the_server() {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\n{\"detail\":\"none\"}";
        let refused = read_answer::<u32>(answer).unwrap().unwrap_err();
        assert_eq!(refused.to_string(), "none");
        assert_eq!(read_answer::<u32>(b"HTTP/1.1 200 OK\r\n\r\n5").unwrap().unwrap(), 5);
        for noise in [&b"SSH-2.0-x"[..], b"", b"HTTP/1.1 200 OK\r\n\r\n<html>", b"HTTP/1.1 200 OK\r\n"] {
            assert!(read_answer::<u32>(noise).is_none());
        }
    }
}
