//! The admin socket: one thread that accepts, one for each question, few at a time.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::warn;

use super::Desk;
use super::answer::{self, Refusal};
use super::bucket::BucketReport;
use super::route::Route;
use crate::http::{ConnectionState, Frame, Head, HttpLimits, Reject};

/// Questions at a time; who comes after is told so.
const MAX_QUESTIONS: usize = 8;
/// A question has so long to arrive, and its answer as long to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long, and how much, is still read from who has been answered.
const LINGER: Duration = Duration::from_millis(50);
const MOST_UNREAD: usize = 128 << 10;
/// The permissions of the socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;
const READ_BYTES: usize = 4096;
const LIMITS: HttpLimits = HttpLimits {
    max_header_bytes: 8192,
    max_target_bytes: 4096,
    max_body_bytes: 65_536,
    max_requests_per_connection: 1,
};

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The path cannot be had.
    #[error("cannot listen for admin questions on {path}: {source}{hint}")]
    Listen {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// No thread.
    #[error("cannot start the thread of the admin socket: {0}")]
    Thread(io::Error),
}

impl AdminError {
    fn listen(path: &Path, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => "; another server answers there: set [admin] socket to another path",
            io::ErrorKind::NotFound => "; make its directory, or set [admin] socket to another path",
            io::ErrorKind::PermissionDenied => "; its directory must be writable by this server",
            _ => "",
        };
        Self::Listen { path: path.to_owned(), source, hint }
    }
}

/// The running admin socket; it is removed when this is dropped.
#[derive(Debug)]
pub struct AdminServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens at `path`. A socket that a dead process left there is replaced.
    ///
    /// # Errors
    /// When the path cannot be had.
    pub fn start(path: &Path, desk: Arc<dyn Desk>) -> Result<Self, AdminError> {
        let listener = bind(path).map_err(|source| AdminError::listen(path, source))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || accept_all(&listener, &desk, &stopped))
            .map_err(AdminError::Thread)?;
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts; without that it would wait for a question. A path that is
        // gone leaves it waiting, and the end of the process ends it.
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
        {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() || UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

fn accept_all(listener: &UnixListener, desk: &Arc<dyn Desk>, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        match stream {
            Ok(stream) => begin(stream, desk, &open),
            // Descriptors are short, for example; trying again at once would only burn time.
            Err(error) => {
                warn!("the admin socket accepts nothing: {error}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

/// Gives the question a thread, unless too many have one.
fn begin(stream: UnixStream, desk: &Arc<dyn Desk>, open: &Arc<AtomicUsize>) {
    let deadlines =
        stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    if deadlines.is_err() {
        return;
    }
    if open.fetch_add(1, Ordering::Relaxed) >= MAX_QUESTIONS {
        open.fetch_sub(1, Ordering::Relaxed);
        give(stream, &Err(Refusal::Busy(MAX_QUESTIONS)));
        return;
    }
    let (desk, open) = (Arc::clone(desk), Arc::clone(open));
    let counted = Arc::clone(&open);
    let spawned = std::thread::Builder::new().name("admin-question".to_owned()).spawn(move || {
        answer_one(stream, desk.as_ref());
        open.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = spawned {
        counted.fetch_sub(1, Ordering::Relaxed);
        warn!("no thread for a question on the admin socket: {error}");
    }
}

fn answer_one(mut stream: UnixStream, desk: &dyn Desk) {
    let outcome = match read_question(&mut stream, Instant::now() + PATIENCE) {
        Ok(Some(route)) => ask(desk, &route),
        Ok(None) => return,
        Err(refusal) => Err(refusal),
    };
    give(stream, &outcome);
}

fn ask(desk: &dyn Desk, route: &Route) -> Result<BucketReport, Refusal> {
    match route {
        Route::Bucket { policy, key } => desk.bucket(policy, key),
    }
}

/// One whole request; nothing when the other end goes away before.
fn read_question(stream: &mut UnixStream, until: Instant) -> Result<Option<Route>, Refusal> {
    let (mut state, mut input) = (ConnectionState::default(), Vec::new());
    let mut buffer = [0; READ_BYTES];
    loop {
        match state.next_request(&input, &LIMITS).map_err(Refusal::Http)? {
            Frame::Complete(request) => return Route::of(&request.head).map(Some),
            // No path here takes a body, so the answer does not wait for one.
            Frame::AwaitsContinue => return head_alone(&input).map(Some),
            Frame::Partial => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refusal::Http(Reject::Timeout));
        }
        let _ = stream.set_read_timeout(Some(left));
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(bytes) => input.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(Refusal::Http(Reject::Timeout));
            }
            Err(_) => return Ok(None),
        }
    }
}

fn head_alone(input: &[u8]) -> Result<Route, Refusal> {
    Route::of(&Head::parse(input, &LIMITS).map_err(Refusal::Http)?)
}

/// Answers, and takes what is still being sent: a socket that is closed over unread bytes is reset, and
/// the answer with it. Who asked may have gone; nobody else wants the answer.
fn give(mut stream: UnixStream, outcome: &Result<BucketReport, Refusal>) {
    let _ = stream.write_all(&answer::render(outcome));
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(LINGER));
    let mut unread = [0; READ_BYTES];
    for _ in 0..MOST_UNREAD / READ_BYTES {
        if !matches!(stream.read(&mut unread), Ok(bytes) if bytes > 0) {
            return;
        }
    }
}
