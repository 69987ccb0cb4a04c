//! Listening sockets: one a core for each TCP address (SO_REUSEPORT), one in all for a Unix path; or
//! those that an earlier process left open, which clients may be waiting in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::bind::{self, OwnSocketPath};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix stream socket at a path.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{hint}")]
pub struct ListenError {
    address: ListenAddr,
    source: io::Error,
    hint: &'static str,
}

impl ListenError {
    fn new(address: &ListenAddr, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "; another process has it: stop that one, or set [server] listen, where another address may \
                 cover this one"
            }
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE, a socket path needs a writable directory"
            }
            io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
            io::ErrorKind::NotFound => "; the directory of the socket does not exist",
            _ => "",
        };
        Self { address: address.clone(), source, hint }
    }
}

/// Most bytes that the kernel takes before they are sent. With more of them nobody could see for long
/// that a slow client does take what it is sent.
const UNSENT_BYTES: u32 = 32 * 1024;

/// The permissions of a Unix socket: its owner and group.
const SOCKET_MODE: u32 = 0o660;

/// The sockets of one address, to be shared out over the cores.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) address: ListenAddr,
    /// One a core, or one for all, or as many as were handed over.
    sockets: Vec<OwnedFd>,
    /// The path of a Unix socket, unless somebody else keeps the socket open: then it is theirs.
    path: Option<OwnSocketPath>,
}

impl Listeners {
    /// # Errors
    /// When the address cannot be had.
    pub(super) fn open(address: &ListenAddr, cores: usize, backlog: i32) -> Result<Self, ListenError> {
        let sockets = match address {
            ListenAddr::Tcp(tcp) => bind::patiently(|| open_tcp(*tcp, cores, backlog)),
            ListenAddr::Unix(path) => bind::patiently(|| open_unix(path, backlog)).map(|socket| vec![socket]),
        };
        let sockets = sockets.map_err(|source| ListenError::new(address, source))?;
        let (address, path) = match address {
            ListenAddr::Tcp(_) => (ListenAddr::Tcp(bound(&sockets[0], address)?), None),
            ListenAddr::Unix(path) => (address.clone(), OwnSocketPath::bound(path)),
        };
        Ok(Self { address, sockets, path })
    }

    /// Goes on with sockets that listen at `address` already. Each is kept, whatever the number of cores:
    /// connections may wait in it. Where there are fewer than cores and the sockets allow it, more join.
    ///
    /// # Errors
    /// When the sockets cannot be set up.
    pub(super) fn adopt(
        address: &ListenAddr,
        sockets: Vec<OwnedFd>,
        cores: usize,
        backlog: i32,
    ) -> Result<Self, ListenError> {
        let adopted = adopt_sockets(address, sockets, cores, backlog);
        let sockets = adopted.map_err(|source| ListenError::new(address, source))?;
        Ok(Self { address: address.clone(), sockets, path: None })
    }

    /// Leaves the path of a Unix socket when this is dropped: the socket stays open elsewhere.
    pub(super) fn outlive(&mut self) {
        self.path = None;
    }

    /// Descriptors of `core`'s own: its part of the sockets, or where there are too few, one it shares.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(super) fn of_core(&self, core: usize, cores: usize) -> io::Result<Vec<Listener>> {
        let count = self.sockets.len();
        let own: Vec<usize> = (core..count).step_by(cores.max(1)).collect();
        let own = if own.is_empty() { vec![core % count] } else { own };
        own.into_iter().map(|socket| Ok(Listener { socket: self.sockets[socket].try_clone()? })).collect()
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            path.remove();
        }
    }
}

/// One listening socket.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bound(socket: &OwnedFd, asked: &ListenAddr) -> Result<SocketAddr, ListenError> {
    let address = SockRef::from(socket).local_addr().map_err(|e| ListenError::new(asked, e))?;
    address.as_socket().ok_or_else(|| ListenError::new(asked, io::ErrorKind::Unsupported.into()))
}

/// The first socket finds the port when it is 0; the others join it. Without SO_REUSEPORT on a first
/// trial socket a second server on the same port would share its traffic unnoticed.
fn open_tcp(address: SocketAddr, cores: usize, backlog: i32) -> io::Result<Vec<OwnedFd>> {
    if address.port() != 0 {
        tcp_socket(address)?.bind(&address.into())?;
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = joining_socket(address)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        sockets.push(socket);
    }
    for socket in &sockets {
        socket.listen(backlog)?;
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

/// A bound socket that shares its port with others of this user.
fn joining_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    set_inherited(&SockRef::from(&socket))?;
    Ok(socket)
}

/// Sets what is inherited by the connections of a listening socket.
fn set_inherited(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

fn adopt_sockets(
    address: &ListenAddr,
    mut sockets: Vec<OwnedFd>,
    cores: usize,
    backlog: i32,
) -> io::Result<Vec<OwnedFd>> {
    let mut shared = true;
    for socket in &sockets {
        let socket = SockRef::from(socket);
        // Who made it may have asked for a shorter queue.
        socket.listen(backlog)?;
        if matches!(address, ListenAddr::Tcp(_)) {
            set_inherited(&socket)?;
            shared &= socket.reuse_port()?;
        }
    }
    if let ListenAddr::Tcp(tcp) = address
        && shared
    {
        while sockets.len() < cores {
            let socket = joining_socket(*tcp)?;
            socket.listen(backlog)?;
            sockets.push(socket.into());
        }
    }
    Ok(sockets)
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn open_unix(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    bind::remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: PathBuf) -> Result<Listeners, ListenError> {
        Listeners::open(&ListenAddr::Unix(path), 2, 16)
    }

    #[test]
    fn a_socket_left_by_a_dead_process_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listeners = unix(path.clone()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        let text = unix(path.clone()).unwrap_err().to_string();
        assert!(text.contains("another process has it"), "{text}");
        drop(listeners);
        assert!(!path.exists());
        fs::write(&path, "a file, not a socket").unwrap();
        for no_socket in [path.as_path(), directory.path()] {
            let text = unix(no_socket.to_owned()).unwrap_err().to_string();
            assert!(text.contains("no socket; remove it") && !text.contains("process"), "{text}");
        }
    }

    #[test]
    fn every_core_gets_a_socket_on_the_same_port_that_no_second_server_can_share() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::open(&ListenAddr::Tcp(any), 3, 16).unwrap();
        assert_eq!(listeners.sockets.len(), 3);
        let again = Listeners::open(&listeners.address, 1, 16).unwrap_err().to_string();
        assert!(again.contains("another process has it"), "{again}");
        let ListenAddr::Tcp(SocketAddr::V4(mut all)) = listeners.address else { panic!("no IPv4 address") };
        all.set_ip(std::net::Ipv4Addr::UNSPECIFIED);
        let covered = Listeners::open(&ListenAddr::Tcp(all.into()), 1, 16).unwrap_err().to_string();
        assert!(covered.contains("may cover this one"), "{covered}");
    }

    fn adopted(listeners: &Listeners, cores: usize) -> Listeners {
        let sockets = listeners.sockets().map(|socket| socket.try_clone_to_owned().unwrap()).collect();
        Listeners::adopt(&listeners.address, sockets, cores, 16).unwrap()
    }

    #[test]
    fn sockets_that_are_handed_over_all_have_a_core_and_every_core_has_one() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let three = Listeners::open(&ListenAddr::Tcp(any), 3, 16).unwrap();
        let fewer = adopted(&three, 2);
        let counts: Vec<usize> = (0..2).map(|core| fewer.of_core(core, 2).unwrap().len()).collect();
        assert_eq!(counts, [2, 1]);
        let more = adopted(&three, 5);
        assert_eq!(more.sockets.len(), 5);
        assert!((0..5).all(|core| more.of_core(core, 5).unwrap().len() == 1));
    }

    #[test]
    fn a_socket_that_shares_its_port_with_nobody_is_shared_by_the_cores() {
        let alone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ListenAddr::Tcp(alone.local_addr().unwrap());
        let listeners = Listeners::adopt(&address, vec![alone.into()], 3, 16).unwrap();
        assert_eq!(listeners.sockets.len(), 1);
        assert!((0..3).all(|core| listeners.of_core(core, 3).unwrap().len() == 1));
    }

    #[test]
    fn the_path_of_a_socket_that_stays_open_elsewhere_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check.sock");
        let mut first = unix(path.clone()).unwrap();
        let second = adopted(&first, 2);
        first.outlive();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(path.exists());
    }

    #[test]
    fn a_refused_address_is_named_with_a_hint() {
        let elsewhere = ListenAddr::Tcp("192.0.2.1:8080".parse().unwrap());
        let text = Listeners::open(&elsewhere, 1, 16).unwrap_err().to_string();
        assert!(text.contains("192.0.2.1:8080") && text.contains("no interface"), "{text}");
    }
}
