//! Finding the server before anything is started: one connection is tried, so that a wrong address is
//! one clear error and not one a connection.

use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, bounded};
use socket2::{SockAddr, Socket, Type};

use super::error::LoadError;
use super::plan::Target;
use crate::ring::Destination;

/// Most addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// How soon a stop is noticed.
const GLANCE: Duration = Duration::from_millis(50);

/// The first address of `target` that takes a connection within `timeout`.
///
/// # Errors
/// When there is none, or `stop` is set before one is found.
pub(super) fn reach(target: &Target, timeout: Duration, stop: &AtomicBool) -> Result<Destination, LoadError> {
    let (found, finding) = bounded(1);
    let target = target.clone();
    // Looking up a name cannot be broken off. After a stop the thread ends by itself, and nobody waits for it.
    let thread = Builder::new().name("load-reach".to_owned());
    thread.spawn(move || found.send(search(&target, timeout))).map_err(LoadError::Thread)?;
    loop {
        match finding.recv_timeout(GLANCE) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Err(LoadError::Stopped),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(LoadError::Panicked),
        }
    }
}

fn search(target: &Target, timeout: Duration) -> Result<Destination, LoadError> {
    let mut refusal = io::ErrorKind::NotFound.into();
    for address in addresses(target)? {
        match try_connect(&address, timeout) {
            Ok(()) => return Ok(Destination::new(address)),
            Err(error) => refusal = error,
        }
    }
    Err(LoadError::connect(target, refusal))
}

fn addresses(target: &Target) -> Result<Vec<SockAddr>, LoadError> {
    match target {
        Target::Tcp { host, port } => {
            let found = (host.as_str(), *port).to_socket_addrs();
            let found = found.map_err(|source| LoadError::Resolve { target: target.clone(), source })?;
            Ok(found.take(MAX_ADDRESSES).map(SockAddr::from).collect())
        }
        Target::Unix(path) => {
            let address = SockAddr::unix(path).map_err(|source| LoadError::connect(target, source))?;
            Ok(vec![address])
        }
    }
}

fn try_connect(address: &SockAddr, timeout: Duration) -> io::Result<()> {
    Socket::new(address.domain(), Type::STREAM, None)?.connect_timeout(address, timeout)
}
