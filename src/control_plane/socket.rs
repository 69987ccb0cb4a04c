//! The socket of the replication link.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, IntoRawFd as _};
use std::time::{Duration, Instant};

use glommio::net::UdpSocket;
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel is asked to hold while the control plane does something else; it caps this at
/// `net.core.rmem_max` and `net.core.wmem_max`.
const BUFFER_BYTES: usize = 4 << 20;

/// The kernel takes a ring apart after its process has ended, and lets go of the ring's sockets only then:
/// a start right after a kill has to wait for it.
const LET_GO: Duration = Duration::from_secs(2);

/// A socket at `address` that nobody else shares.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As large as the host allows: with less, datagrams are lost in a burst, and sent again.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    let until = Instant::now() + LET_GO;
    loop {
        match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(LET_GO / 100);
            }
            bound => return bound.map(|()| socket),
        }
    }
}

/// The socket as the executor of this thread has it.
pub(super) fn adopt(socket: Socket) -> UdpSocket {
    let fd = socket.into_raw_fd();
    // SAFETY: the descriptor was just taken out of a socket that owned it, so nothing else does; it is a
    // UDP socket, which is what the type stands for.
    unsafe { UdpSocket::from_raw_fd(fd) }
}
