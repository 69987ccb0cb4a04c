//! The notification socket: one datagram of `NAME=value` lines, and at most one descriptor.

use std::fmt::Write as _;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg_addr, socket_with,
};

/// A manager that takes nothing for so long is given up for this message.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest status line; `systemctl status` shows less.
const MAX_STATUS_BYTES: usize = 512;

/// Why the manager is told nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A kind of address that is not spoken here.
    #[error("NOTIFY_SOCKET={0}: only a path and an abstract name (@…) are supported")]
    Unsupported(String),
    /// No socket.
    #[error("cannot open a socket to the service manager: {0}")]
    Open(Errno),
    /// The manager did not take it.
    #[error("the service manager does not take a message: {0}")]
    Send(Errno),
}

/// What one datagram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    lines: String,
}

impl Message {
    /// All listeners answer; also the end of a reload.
    #[must_use]
    pub fn ready(self) -> Self {
        self.line("READY", 1)
    }

    /// A reload begins now, at this time of `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn reloading(self, monotonic: Duration) -> Self {
        self.line("RELOADING", 1).line("MONOTONIC_USEC", monotonic.as_micros())
    }

    /// The end begins.
    #[must_use]
    pub fn stopping(self) -> Self {
        self.line("STOPPING", 1)
    }

    /// A sign of life.
    #[must_use]
    pub fn alive(self) -> Self {
        self.line("WATCHDOG", 1)
    }

    /// What is under way takes so long, from now.
    #[must_use]
    pub fn wait_for(self, time: Duration) -> Self {
        self.line("EXTEND_TIMEOUT_USEC", time.as_micros())
    }

    /// One line for people, cut at 512 bytes.
    #[must_use]
    pub fn status(self, text: &str) -> Self {
        let mut end = text.len().min(MAX_STATUS_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A line feed would begin another variable.
        self.line("STATUS", text[..end].replace(char::is_control, " "))
    }

    /// The descriptor sent with this is to be kept under `name`.
    #[must_use]
    pub(super) fn keep(self, name: &str) -> Self {
        self.line("FDSTORE", 1).line("FDNAME", name)
    }

    /// What is kept under `name` is to be closed.
    #[must_use]
    pub(super) fn forget(self, name: &str) -> Self {
        self.line("FDSTOREREMOVE", 1).line("FDNAME", name)
    }

    fn line(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        // Writing to a string does not fail.
        let _ = writeln!(self.lines, "{name}={value}");
        self
    }
}

/// The way to the manager.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl NotifySocket {
    /// A socket that sends to `name`: a path, or an abstract name after `@`.
    ///
    /// # Errors
    /// When it is neither, or there is no socket.
    pub fn open(name: &str) -> Result<Self, NotifyError> {
        let address = match name.as_bytes() {
            [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest),
            [b'/', ..] => SocketAddrUnix::new(name),
            _ => return Err(NotifyError::Unsupported(name.to_owned())),
        };
        let address = address.map_err(NotifyError::Open)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .map_err(NotifyError::Open)?;
        set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(NotifyError::Open)?;
        Ok(Self { socket, address })
    }

    /// Sends a message, with a descriptor that the manager gets a copy of.
    ///
    /// # Errors
    /// When the manager is gone, or takes nothing.
    pub fn send(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> Result<(), NotifyError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(NotifyError::Send(Errno::NOBUFS));
        }
        let bytes = [IoSlice::new(message.lines.as_bytes())];
        loop {
            match sendmsg_addr(&self.socket, &self.address, &bytes, &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return sent.map(|_| ()).map_err(NotifyError::Send),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = [0; 2048];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("openclaw-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&abstract_address).unwrap();
        for (name, socket) in [(path.to_str().unwrap().to_owned(), &at_path), (format!("@{name}"), &at_name)]
        {
            let message = Message::default().ready().status("serves");
            NotifySocket::open(&name).unwrap().send(&message, None).unwrap();
            assert_eq!(received(socket), "READY=1\nSTATUS=serves\n");
        }
    }

    #[test]
    fn each_state_is_written_as_sd_notify_says() {
        let reload = Message::default().reloading(Duration::from_micros(42));
        assert_eq!(reload.lines, "RELOADING=1\nMONOTONIC_USEC=42\n");
        let stop = Message::default().stopping().wait_for(Duration::from_secs(2));
        assert_eq!(stop.lines, "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\n");
        assert_eq!(Message::default().alive().lines, "WATCHDOG=1\n");
        assert_eq!(Message::default().keep("a").lines, "FDSTORE=1\nFDNAME=a\n");
        assert_eq!(Message::default().forget("a").lines, "FDSTOREREMOVE=1\nFDNAME=a\n");
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(Message::default().status("a\nREADY=1").lines, "STATUS=a READY=1\n");
        let long = Message::default().status(&"é".repeat(MAX_STATUS_BYTES)).lines;
        assert_eq!(long.len(), "STATUS=".len() + MAX_STATUS_BYTES + 1);
    }

    #[test]
    fn a_manager_that_is_gone_or_speaks_otherwise_is_an_error_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let socket = NotifySocket::open(directory.path().join("nobody").to_str().unwrap()).unwrap();
        let error = socket.send(&Message::default().ready(), Some(std::io::stderr().as_fd())).unwrap_err();
        assert!(error.to_string().contains("does not take a message"), "{error}");
        let error = NotifySocket::open("vsock:2:1").unwrap_err().to_string();
        assert!(error.contains("vsock:2:1"), "{error}");
    }
}
