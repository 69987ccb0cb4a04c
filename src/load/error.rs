//! Why a run does not begin, or breaks off.

use std::io;

use super::plan::Target;
use crate::ring::RingError;

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The host has no address.
    #[error("cannot find an address of {target}: {source}")]
    Resolve {
        /// The server.
        target: Target,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No connection to the server.
    #[error("cannot connect to {target}: {source}{hint}")]
    Connect {
        /// The server.
        target: Target,
        /// The kernel's answer.
        source: io::Error,
        /// What to do, with a separator before it; may be empty.
        hint: &'static str,
    },
    /// Stopped by hand before there was a server.
    #[error("stopped before the server was reached")]
    Stopped,
    /// No ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// No memory for buffers.
    #[error("no memory for the connections' buffers: {0}; ask for fewer connections")]
    Memory(io::Error),
    /// No thread.
    #[error("cannot start a thread: {0}; ask for fewer threads")]
    Thread(io::Error),
    /// The ring failed.
    #[error("waiting on io_uring failed: {0}")]
    Wait(io::Error),
    /// A thread is gone.
    #[error("a thread of the load generator panicked; see above")]
    Panicked,
}

impl LoadError {
    pub(super) fn connect(target: &Target, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::ConnectionRefused => "; nothing listens there: is the server running?",
            io::ErrorKind::NotFound => "; there is no such socket: is the server running?",
            io::ErrorKind::PermissionDenied => "; run as the socket's owner or a member of its group",
            io::ErrorKind::TimedOut => "; nothing answers there: check the address and firewalls",
            io::ErrorKind::WouldBlock => "; the server does not accept: its queue of connections is full",
            _ => "",
        };
        Self::Connect { target: target.clone(), source, hint }
    }
}
