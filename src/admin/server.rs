//! The admin listeners: one thread each that accepts, one for each question, few at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use tracing::warn;

use super::caller::Caller;
use super::desk::Desk;
use super::exchange;
use super::listener::{Listener, Stream};
use super::places::Places;
use crate::bind::OwnSocketPath;
use crate::data_plane::ListenAddr;

/// Questions at a time on the Unix socket; further ones are answered 429.
const MAX_LOCAL: usize = 8;
/// The same on TCP, where other nodes ask as witnesses; a stranger that only waits gives way to a further one.
const MAX_REMOTE: usize = 32;

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be had.
    #[error("cannot listen for admin questions on {address}: {source}{hint}")]
    Listen {
        /// The address.
        address: ListenAddr,
        /// What the system said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// No thread.
    #[error("cannot start the thread of the admin listener: {0}{hint}", hint = crate::limits::remedy(.0))]
    Thread(io::Error),
}

impl AdminError {
    fn listen(address: &ListenAddr, source: io::Error) -> Self {
        let hint = match (address, source.kind()) {
            (ListenAddr::Unix(_), io::ErrorKind::AddrInUse) => {
                "; another server answers there: set [admin] socket to another path"
            }
            (ListenAddr::Unix(_), io::ErrorKind::NotFound) => {
                "; make its directory, or set [admin] socket to another path"
            }
            (ListenAddr::Unix(_), io::ErrorKind::PermissionDenied) => {
                "; its directory must be writable by this server"
            }
            (ListenAddr::Tcp(_), io::ErrorKind::AddrInUse) => {
                "; another process has it: set [admin] listen to another port"
            }
            (ListenAddr::Tcp(_), io::ErrorKind::AddrNotAvailable) => {
                "; no interface of this host has that address: set [admin] listen to one that has"
            }
            _ => "",
        };
        Self::Listen { address: address.clone(), source, hint }
    }
}

/// One running listener; it ends when this is dropped, and its socket is removed.
#[derive(Debug)]
pub struct AdminServer {
    address: ListenAddr,
    path: Option<OwnSocketPath>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Listens at `address`. A socket that a dead process left there is replaced.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(address: &ListenAddr, desk: Arc<Desk>) -> Result<Self, AdminError> {
        let (listener, bound) =
            Listener::bind(address).map_err(|source| AdminError::listen(address, source))?;
        let path = match &bound {
            ListenAddr::Unix(path) => OwnSocketPath::bound(path),
            ListenAddr::Tcp(_) => None,
        };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| AdminError::Thread(error.into()))?);
        let woken = Arc::clone(&wake);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || accept_all(&listener, &desk, &woken))
            .map_err(AdminError::Thread)?;
        Ok(Self { address: bound, path, wake, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &ListenAddr {
        &self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            path.remove();
        }
        // Only a full counter refuses, and then the thread is being woken already.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Accepts until it is woken.
fn accept_all(listener: &Listener, desk: &Arc<Desk>, wake: &OwnedFd) {
    let places = match listener {
        Listener::Unix(_) => Places::new(MAX_LOCAL, false),
        Listener::Tcp(_) => Places::new(MAX_REMOTE, true),
    };
    loop {
        let mut watched = [PollFd::new(listener, PollFlags::IN), PollFd::new(wake, PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) if !watched[1].revents().is_empty() => return,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => rest(&error.into()),
        }
        match listener.accept() {
            Ok((stream, caller)) => begin(stream, caller, desk, &places),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // Who was accepted is gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => rest(&error),
        }
    }
}

/// Descriptors are short, for example; trying again at once would only burn time.
fn rest(error: &io::Error) {
    warn!("the admin listener accepts nothing: {error}");
    std::thread::sleep(Duration::from_millis(100));
}

/// Gives the question a thread, unless too many have one.
fn begin(stream: Stream, caller: Caller, desk: &Arc<Desk>, places: &Arc<Places>) {
    let place = match places.take(stream) {
        Ok(place) => place,
        Err(stream) => return exchange::turn_away(&stream, places.most()),
    };
    let desk = Arc::clone(desk);
    let spawned = std::thread::Builder::new()
        .name("admin-question".to_owned())
        .spawn(move || exchange::answer_one(&place, caller, &desk));
    if let Err(error) = spawned {
        warn!("no thread for a question on the admin listener: {error}");
    }
}
