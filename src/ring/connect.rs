//! Where a client's connections go.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

/// An address to connect to. Copies share it, and the ring keeps one while the kernel may read it.
#[derive(Clone, Debug)]
pub struct Destination(Arc<SockAddr>);

impl Destination {
    /// The destination at `address`.
    #[must_use]
    pub fn new(address: SockAddr) -> Self {
        Self(Arc::new(address))
    }

    /// A stream socket that can be connected there. Over TCP it sends what it has at once: a request
    /// that waits for the acknowledgement of the one before would measure the wait.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        let domain = self.0.domain();
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket.into())
    }

    pub(super) fn address(&self) -> &SockAddr {
        &self.0
    }
}
