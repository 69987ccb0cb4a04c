//! The two ways to ask: a Unix socket, and TCP.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use super::caller::Caller;
use crate::bind;
use crate::data_plane::ListenAddr;

/// The permissions of the socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Where questions arrive.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// One connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Listens at `address`, and says where that is: port 0 becomes one that is free. A socket that a dead
    /// process left is replaced.
    pub(super) fn bind(address: &ListenAddr) -> io::Result<(Self, ListenAddr)> {
        let (listener, bound) = match address {
            ListenAddr::Unix(path) => (Self::Unix(bind_unix(path)?), address.clone()),
            ListenAddr::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let bound = ListenAddr::Tcp(listener.local_addr()?);
                (Self::Tcp(listener), bound)
            }
        };
        match &listener {
            Self::Unix(listener) => listener.set_nonblocking(true)?,
            Self::Tcp(listener) => listener.set_nonblocking(true)?,
        }
        Ok((listener, bound))
    }

    /// The next connection and its peer; `WouldBlock` when there is none.
    pub(super) fn accept(&self) -> io::Result<(Stream, Caller)> {
        match self {
            Self::Unix(listener) => listener.accept().map(|(stream, _)| {
                let caller = Caller::of_socket(&stream);
                (Stream::Unix(stream), caller)
            }),
            Self::Tcp(listener) => {
                listener.accept().map(|(stream, from)| (Stream::Tcp(stream), Caller::Remote(from)))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Stream {
    pub(super) fn read_within(&self, buffer: &mut [u8], longest: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(longest))?,
            Self::Tcp(stream) => stream.set_read_timeout(Some(longest))?,
        }
        match self {
            Self::Unix(stream) => (&*stream).read(buffer),
            Self::Tcp(stream) => (&*stream).read(buffer),
        }
    }

    pub(super) fn write_within(&self, bytes: &[u8], longest: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(longest))?,
            Self::Tcp(stream) => stream.set_write_timeout(Some(longest))?,
        }
        match self {
            Self::Unix(stream) => (&*stream).write(bytes),
            Self::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    pub(super) fn end_writing(&self) {
        self.end(Shutdown::Write);
    }

    /// Wakes the thread that reads from it.
    pub(super) fn end_reading(&self) {
        self.end(Shutdown::Read);
    }

    fn end(&self, direction: Shutdown) {
        // The other end may be gone already.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(direction),
            Self::Tcp(stream) => stream.shutdown(direction),
        };
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    bind::remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_socket_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "a file").unwrap();
        let error = Listener::bind(&ListenAddr::Unix(path.clone())).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(path).unwrap(), "a file");
    }
}
