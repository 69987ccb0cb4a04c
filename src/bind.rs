//! Addresses that a process which was just killed may still have, or has left behind.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// Most bytes of a Unix socket's path: `sockaddr_un` has 108 for it and its terminating zero.
pub(crate) const MAX_SOCKET_PATH_BYTES: usize = 107;

/// How long an address that cannot be had is tried again. The kernel takes a ring apart after its process has
/// ended, and lets go of the ring's sockets only then. An IPv6 address that was just given to an interface is not to
/// be had either until the kernel has found that no other host has it, which takes about a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// Binds, and while the address is in use or not there tries again for a bounded time.
///
/// # Errors
/// When the address cannot be had.
pub(crate) fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if may_pass(error.kind()) && Instant::now() < until => {
                std::thread::sleep(PATIENCE / 100);
            }
            bound => return bound,
        }
    }
}

const fn may_pass(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

/// Removes a Unix socket that a dead process left.
///
/// # Errors
/// When something is there that is no socket, or a socket that answers; or when it cannot be removed.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(no_socket(&found));
    }
    if answers(path) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}

fn no_socket(found: &fs::Metadata) -> io::Error {
    let what = if found.is_dir() { "directory" } else { "file" };
    let what =
        format!("there is a {what}, which is no socket; remove it if nobody needs it, or name another path");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

/// Whether there is a listener, which is also so when it has no room for one more.
fn answers(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    #[test]
    fn an_address_that_is_let_go_of_soon_is_had_and_one_that_is_not_is_refused() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let dying = UdpSocket::bind(any).unwrap();
        let address = dying.local_addr().unwrap();
        let mut tries = 0;
        let mut dying = Some(dying);
        let had = patiently(|| {
            tries += 1;
            if tries == 3 {
                dying = None;
            }
            UdpSocket::bind(address)
        });
        assert!(had.is_ok() && tries == 3);
        let refused = patiently(|| UdpSocket::bind(address)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_comes_up_soon_is_waited_for() {
        let mut tries = 0;
        let had = patiently(|| {
            tries += 1;
            if tries < 3 { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok(()) }
        });
        assert!(had.is_ok() && tries == 3);
        let refused = patiently(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
