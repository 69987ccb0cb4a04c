//! Descriptors that the service manager hands over at a start.
#![allow(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, fstat};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use socket2::{SockRef, Type};

use crate::data_plane::ListenAddr;

/// The first descriptor that is handed over; `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More than a unit can keep for this server.
const MOST: u32 = 4096;
/// What the names of sockets begin with that this server gave away itself.
pub const STORED_LISTENER: &str = "listener";
/// What the names of tables begin with.
pub const STORED_TABLE: &str = "table";

/// All that was handed over, sorted by kind.
#[derive(Debug, Default)]
pub struct Handed {
    /// Listening sockets.
    pub listeners: Vec<HandedListener>,
    /// Memory that an earlier process of this server kept buckets in.
    pub tables: Vec<HandedMemory>,
    /// What cannot be used.
    pub refused: Vec<Refused>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct HandedListener {
    /// Its name: of its unit, or as this server kept it.
    pub name: String,
    /// Where it listens.
    pub address: ListenAddr,
    /// The socket.
    pub socket: OwnedFd,
}

impl HandedListener {
    /// Whether an earlier process of this server had it kept; else it is of a `.socket` unit.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.name.starts_with(STORED_LISTENER)
    }
}

/// Memory in a file without a name.
#[derive(Debug)]
pub struct HandedMemory {
    /// Its name.
    pub name: String,
    /// The file.
    pub file: OwnedFd,
}

/// A descriptor of no use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service manager handed over {:?}, which is not used: {}", self.name, self.why)
    }
}

impl Handed {
    /// What was handed to this process, by `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. To be called
    /// once, before anything else is done with descriptors from 3 on: a second call finds nothing.
    #[must_use]
    pub fn to_process(variable: impl Fn(&str) -> Option<String>) -> Self {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let mut handed = Self::default();
        if TAKEN.swap(true, Ordering::Relaxed) {
            return handed;
        }
        for (number, name) in named(variable, std::process::id()) {
            match take(number) {
                Ok(descriptor) => handed.sort(name, descriptor),
                Err(error) => handed.refuse(name, format!("descriptor {number}: {error}")),
            }
        }
        handed
    }

    fn sort(&mut self, name: String, descriptor: OwnedFd) {
        let kind = fstat(&descriptor).map(|found| FileType::from_raw_mode(found.st_mode));
        match kind {
            Ok(FileType::Socket) => match address_of(descriptor.as_fd()) {
                Ok(address) => self.listeners.push(HandedListener { name, address, socket: descriptor }),
                Err(why) => self.refuse(name, why),
            },
            Ok(FileType::RegularFile) if name.starts_with(STORED_TABLE) => {
                self.tables.push(HandedMemory { name, file: descriptor });
            }
            Ok(_) => self.refuse(name, "it is neither a socket nor memory of this server".to_owned()),
            Err(error) => self.refuse(name, error.to_string()),
        }
    }

    fn refuse(&mut self, name: String, why: String) {
        self.refused.push(Refused { name, why });
    }
}

/// The numbers and names of what was handed to `process`.
fn named(variable: impl Fn(&str) -> Option<String>, process: u32) -> Vec<(RawFd, String)> {
    let number = |name| variable(name).and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(process) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(MOST) as RawFd;
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut name = || names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
    (0..count).map(|step| (FIRST + step, name())).collect()
}

/// Takes a descriptor over, and keeps it from programs that are started.
fn take(number: RawFd) -> rustix::io::Result<OwnedFd> {
    // SAFETY: only looked at, and before anything in this process could have opened or closed it; that it
    // is not open is an answer of the kernel.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(borrowed)?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it is open, was opened for this process by its parent, and `to_process` hands out each number
    // once.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Where a socket listens, or what is wrong with it.
fn address_of(descriptor: BorrowedFd<'_>) -> Result<ListenAddr, String> {
    let socket = SockRef::from(&descriptor);
    let problem = |error: std::io::Error| error.to_string();
    if socket.r#type().map_err(problem)? != Type::STREAM {
        return Err("it is no stream socket: use ListenStream= in its unit".to_owned());
    }
    if !socket.is_listener().map_err(problem)? {
        return Err("it does not listen: its unit must have Accept=no".to_owned());
    }
    let address = socket.local_addr().map_err(problem)?;
    let tcp: Option<SocketAddr> = address.as_socket();
    tcp.map(ListenAddr::Tcp)
        .or_else(|| address.as_pathname().map(|path| ListenAddr::Unix(path.to_owned())))
        .ok_or_else(|| "it has neither a TCP address nor a path".to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn environment(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
    }

    #[test]
    fn only_what_is_meant_for_this_process_is_taken_and_each_has_a_name() {
        let all = environment(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "a:b")]);
        let names = [(3, "a".to_owned()), (4, "b".to_owned()), (5, "unknown".to_owned())];
        assert_eq!(named(&all, 7), names);
        let nameless = environment(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "1")]);
        assert_eq!(named(nameless, 7), [(3, "unknown".to_owned())]);
        assert!(named(&all, 8).is_empty());
        assert!(named(environment(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "many")]), 7).is_empty());
        let flood = environment(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "4000000000")]);
        assert_eq!(named(flood, 7).len(), MOST as usize);
    }

    #[test]
    fn sockets_that_listen_are_known_by_their_address() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("check.sock");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let address = ListenAddr::Tcp(tcp.local_addr().unwrap());
        let mut handed = Handed::default();
        handed.sort("web.socket".to_owned(), tcp.into());
        handed.sort("listener unix".to_owned(), unix.into());
        assert_eq!(handed.listeners[0].address, address);
        assert_eq!(handed.listeners[1].address, ListenAddr::Unix(path));
        assert!(!handed.listeners[0].is_stored() && handed.listeners[1].is_stored());
        assert!(handed.refused.is_empty());
    }

    #[test]
    fn what_is_of_no_use_is_refused_in_words() {
        let datagram: OwnedFd = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let connected: OwnedFd = UnixStream::pair().unwrap().0.into();
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let mut handed = Handed::default();
        for (name, descriptor) in [("datagram", datagram), ("connected", connected), ("file", file)] {
            handed.sort(name.to_owned(), descriptor);
        }
        let said: Vec<String> = handed.refused.iter().map(ToString::to_string).collect();
        for (line, words) in said.iter().zip(["ListenStream=", "Accept=no", "neither a socket nor memory"]) {
            assert!(line.contains(words), "{line}");
        }
        assert_eq!((said.len(), handed.listeners.len()), (3, 0));
    }

    #[test]
    fn a_number_that_is_not_open_is_an_error_and_not_an_end() {
        assert!(take(1_000_000).is_err());
    }
}
