//! The other end of the admin socket.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::bucket::{BucketReport, ResetReport};
use super::desk::{Drained, Reloaded};
use crate::agent::orders::OrderAnswer;
use crate::bind::MAX_SOCKET_PATH_BYTES;
use crate::bucket::policy::MAX_KEY_BYTES;
use crate::percent::percent_encode;

/// Longer than the server takes for the slowest answer.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why there is no answer. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no server answers on {path}: {source}. Is it running (systemctl status openclaw-rating), with \
         `[admin] socket` (or `[state] directory`) set as here, and may you use its socket? Name another by \
         --socket PATH"
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No socket can be there.
    #[error(
        "the path of the admin socket has {0} bytes; the most is {MAX_SOCKET_PATH_BYTES}. Name another by \
         --socket PATH"
    )]
    PathLength(usize),
    /// No bucket can have that key.
    #[error("the key has {0} bytes; a key has 1 to {MAX_KEY_BYTES} bytes")]
    KeyLength(usize),
    /// The connection broke off.
    #[error("the server on {path} did not answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It takes the question, or not even that, and is silent.
    #[error(
        "the server on {path} did not answer within {patience:?}: is it stopped, or stuck (systemctl status \
         openclaw-rating)? It may still do what it was told"
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It says what is not understood.
    #[error("the server on {0} answers in a way that this program does not know; are both of one version?")]
    NotUnderstood(PathBuf),
}

/// What the body of an order to the agent holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OrderFields {
    /// The region to withdraw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The region to serve instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The identity that the client claims, beside the one the kernel reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
}

/// Asks the server at `socket` for one bucket.
///
/// # Errors
/// When nobody answers, or says no.
pub fn bucket(socket: &Path, policy: &str, key: &[u8]) -> Result<BucketReport, AskError> {
    ask(socket, "GET", &bucket_path(policy, key)?, "")
}

/// Has it fill one bucket.
///
/// # Errors
/// When nobody answers, or says no.
pub fn reset(socket: &Path, policy: &str, key: &[u8]) -> Result<ResetReport, AskError> {
    ask(socket, "DELETE", &bucket_path(policy, key)?, "")
}

/// Has it drain, or no longer.
///
/// # Errors
/// When nobody answers.
pub fn drain(socket: &Path, on: bool) -> Result<Drained, AskError> {
    ask(socket, "POST", if on { "/v1/drain" } else { "/v1/undrain" }, "")
}

/// Has it read its configuration again.
///
/// # Errors
/// When nobody answers, or the configuration has problems.
pub fn reload(socket: &Path) -> Result<Reloaded, AskError> {
    ask(socket, "POST", "/v1/reload", "")
}

/// Asks where its agent stands.
///
/// # Errors
/// When nobody answers, or there is no agent.
pub fn failover(socket: &Path) -> Result<OrderAnswer, AskError> {
    ask(socket, "GET", "/v1/failover", "")
}

/// Tells its agent something; `order` as in the path.
///
/// # Errors
/// When nobody answers, or the agent says no.
pub fn order(socket: &Path, order: &str, fields: &OrderFields) -> Result<OrderAnswer, AskError> {
    // Text alone: it can be written.
    let body = serde_json::to_string(fields).unwrap_or_default();
    ask(socket, "POST", &format!("/v1/failover/{order}"), &body)
}

fn bucket_path(policy: &str, key: &[u8]) -> Result<String, AskError> {
    // The server would speak of the key as it is encoded here.
    match key.len() {
        1..=MAX_KEY_BYTES => Ok(format!("/v1/buckets/{}/{}", percent_encode(policy), percent_encode(key))),
        bytes => Err(AskError::KeyLength(bytes)),
    }
}

fn ask<T: DeserializeOwned>(socket: &Path, method: &str, target: &str, body: &str) -> Result<T, AskError> {
    let path_bytes = socket.as_os_str().len();
    if path_bytes > MAX_SOCKET_PATH_BYTES {
        return Err(AskError::PathLength(path_bytes));
    }
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    let answer = exchange(socket, &request, PATIENCE)?;
    read_answer(&answer).unwrap_or_else(|| Err(AskError::NotUnderstood(socket.to_owned())))
}

/// All that the server at `socket` says to `request`, once it is connected to within `patience`.
fn exchange(socket: &Path, request: &str, patience: Duration) -> Result<Vec<u8>, AskError> {
    let path = || socket.to_owned();
    let silent_or = |error: io::Error, other: fn(PathBuf, io::Error) -> AskError| match error.kind() {
        io::ErrorKind::WouldBlock => AskError::Silent { path: path(), patience },
        _ => other(path(), error),
    };
    let stream = connect(socket, patience)
        .map_err(|error| silent_or(error, |path, source| AskError::Unreachable { path, source }))?;
    converse(stream, request, Instant::now() + patience)
        .map_err(|error| silent_or(error, |path, source| AskError::Broken { path, source }))
}

/// Connects; where the server's queue of connections is full, it is waited for as an answer is.
fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(patience))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// The whole answer is there in time, or there is none: one that comes in drops would be waited for without end.
fn converse(mut stream: UnixStream, request: &str, until: Instant) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 16 * 1024]);
    while answer.len() < MAX_ANSWER_BYTES {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(bytes) => answer.extend_from_slice(&part[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// `None` for what is no answer of ours.
fn read_answer<T: DeserializeOwned>(answer: &[u8]) -> Option<Result<T, AskError>> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_no_socket_and_no_bucket_can_have_is_not_asked_for() {
        let said =
            |path: &str, key: &str| bucket(Path::new(path), "p", key.as_bytes()).unwrap_err().to_string();
        let long = "x".repeat(513);
        assert!(said(&long, "k").contains("513 bytes; the most is 107"));
        assert!(said("/nowhere", &long).contains("the key has 513 bytes; a key has 1 to 512"));
        assert!(said("/nowhere", "").contains("the key has 0 bytes"));
        let gone = reset(Path::new("/nowhere"), "p", &long.as_bytes()[1..]).unwrap_err();
        assert!(matches!(gone, AskError::Unreachable { .. }));
    }

    #[test]
    fn a_server_that_is_stopped_is_waited_for_as_long_as_it_says_whether_its_queue_has_room_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let stopped = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        stopped.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        stopped.listen(0).unwrap();
        let ask = || exchange(&path, "GET / HTTP/1.1\r\n\r\n", Duration::from_millis(20)).unwrap_err();
        // The first is taken into the queue, and none after it.
        for _ in 0..3 {
            let said = ask().to_string();
            assert!(said.contains("did not answer within 20ms") && said.contains("systemctl"), "{said}");
        }
        drop(stopped);
        assert!(matches!(ask(), AskError::Unreachable { .. }));
    }

    #[test]
    fn an_answer_that_comes_in_drops_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until nobody reads any more.
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let given_up = exchange(&path, "GET / HTTP/1.1\r\n\r\n", Duration::from_millis(100)).unwrap_err();
        assert!(matches!(given_up, AskError::Silent { .. }), "{given_up}");
        server.join().unwrap();
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
