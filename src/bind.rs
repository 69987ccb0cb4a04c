//! Addresses that a process which was just killed may still have, or has left behind.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
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
/// When something is there that is no socket, or a socket that may be in use; or when it cannot be removed.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(no_socket(&found));
    }
    nobody_answers(connect(path))?;
    fs::remove_file(path)
}

/// The path of a Unix socket that this process has bound. Its owner removes it; not another's, who took the path after
/// somebody had removed it.
#[derive(Debug)]
pub(crate) struct OwnSocketPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OwnSocketPath {
    /// Notes what was just bound at `path`; `None` when it is gone already.
    pub(crate) fn bound(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Removes it, if it is still there. To be called while the socket is open, so that its inode is no other's.
    pub(crate) fn remove(&self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn no_socket(found: &fs::Metadata) -> io::Error {
    let what = if found.is_dir() { "directory" } else { "file" };
    let what =
        format!("there is a {what}, which is no socket; remove it if nobody needs it, or name another path");
    io::Error::new(io::ErrorKind::AlreadyExists, what)
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// That an attempt to connect shows a socket without an owner: only then does the kernel refuse. A listener without
/// room for one more, a socket of another kind and one of another user say something else, and are in use.
fn nobody_answers(connected: io::Result<()>) -> io::Result<()> {
    let Err(error) = connected else { return Err(io::ErrorKind::AddrInUse.into()) };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Ok(()),
        io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        _ => {
            let what = format!(
                "there is a socket of another kind or of another user, which may be in use ({error}); \
                 end what has it, or name another path"
            );
            Err(io::Error::other(what))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_socket_is_taken_for_left_only_when_the_kernel_refuses_to_connect_to_it() {
        let told = |errno: Errno| nobody_answers(Err(errno.into()));
        assert!(told(Errno::CONNREFUSED).is_ok());
        assert_eq!(told(Errno::AGAIN).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(nobody_answers(Ok(())).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        for errno in [Errno::PROTOTYPE, Errno::ACCESS] {
            let told = told(errno).unwrap_err().to_string();
            assert!(told.contains("end what has it") && told.contains(&errno.to_string()), "{told}");
        }
    }

    #[test]
    fn a_socket_of_another_kind_stays_while_its_process_lives_and_is_removed_after() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify.sock");
        let others = UnixDatagram::bind(&path).unwrap();
        assert!(remove_stale(&path).unwrap_err().to_string().contains("another kind"));
        UnixDatagram::unbound().unwrap().send_to(b"still there", &path).unwrap();
        drop(others);
        remove_stale(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_is_removed_by_who_bound_it_and_not_once_another_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check.sock");
        assert!(OwnSocketPath::bound(&path).is_none());
        let _first = UnixDatagram::bind(&path).unwrap();
        let of_first = OwnSocketPath::bound(&path).unwrap();
        fs::remove_file(&path).unwrap();
        of_first.remove();
        let _second = UnixDatagram::bind(&path).unwrap();
        of_first.remove();
        assert!(path.exists());
        OwnSocketPath::bound(&path).unwrap().remove();
        assert!(!path.exists());
    }

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
