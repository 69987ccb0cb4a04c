//! The socket of the replication link.
//!
//! Where the kernel can, many datagrams leave in one call (`UDP_SEGMENT`) and arrive in one (`UDP_GRO`);
//! where it refuses, each goes by itself.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _};
use std::time::Duration;

use glommio::net::UdpSocket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, Socket, Type};
use tracing::info;

use super::train::Train;
use crate::bind;

/// What the kernel is asked to hold while the control plane does something else; it caps this at
/// `net.core.rmem_max` and `net.core.wmem_max`.
const BUFFER_BYTES: usize = 4 << 20;
/// As much as can arrive at once.
pub(super) const RECEIVE_BYTES: usize = 1 << 16;

/// A control message of one number: its head (`struct cmsghdr`), the number, and what aligns it.
const HEAD_BYTES: usize = size_of::<libc::cmsghdr>();
const CONTROL_BYTES: usize = HEAD_BYTES + 8;

/// A socket that no executor has yet.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    /// The same socket, for the executor.
    again: Socket,
}

/// A socket at `address` that nobody else shares.
///
/// # Errors
/// When the address cannot be bound, or there are no descriptors left.
pub(super) fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As large as the host allows: with less, datagrams are lost in a burst, and sent again.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    // Without it each datagram arrives by itself.
    let _ = set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    bind::patiently(|| socket.bind(&address.into()))?;
    let again = socket.try_clone()?;
    Ok(Bound { socket, again })
}

impl Bound {
    /// Sends a datagram without waiting.
    ///
    /// # Errors
    /// When it was not sent.
    pub(super) fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to_with_flags(datagram, &to.into(), libc::MSG_DONTWAIT).map(|_| ())
    }

    /// Waits for datagrams, for a while.
    ///
    /// # Errors
    /// When none has arrived.
    pub(super) fn receive_within(&self, buffer: &mut [u8], wait: Duration) -> io::Result<Arrived> {
        let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&wait))?;
        receive_now(&self.socket, buffer)
    }
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let bytes = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the kernel reads `bytes` bytes of
    // `value`, which is as large.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), bytes) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What has arrived: datagrams of `segment` bytes each, but the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) bytes: usize,
    pub(super) segment: usize,
    pub(super) from: SocketAddr,
}

/// Datagrams that could not be sent.
#[derive(Debug)]
pub(super) struct NotSent {
    pub(super) datagrams: u64,
    pub(super) why: io::Error,
}

/// The socket as the executor of this thread has it.
pub(super) struct PeerSocket {
    socket: Socket,
    /// The same socket: it waits where the other would.
    waiting: UdpSocket,
    /// Where trains are refused: the device on the way cannot cut them, or the way takes less than a segment.
    refusing: RefCell<Vec<SocketAddr>>,
}

impl PeerSocket {
    pub(super) fn adopt(bound: Bound) -> Self {
        let Bound { socket, again } = bound;
        let fd = again.into_raw_fd();
        // SAFETY: the descriptor was just taken out of a socket that owned it, so nothing else does; it is a
        // UDP socket, which is what the type stands for.
        let waiting = unsafe { UdpSocket::from_raw_fd(fd) };
        Self { socket, waiting, refusing: RefCell::new(Vec::new()) }
    }

    /// Sends all of a train, in one call where that is possible.
    ///
    /// # Errors
    /// How many were not sent, and why the last of them was not.
    pub(super) async fn send(&self, train: &Train) -> Result<(), NotSent> {
        if train.len() > 1 && !self.refusing.borrow().contains(&train.to()) {
            match send_train(&self.socket, train) {
                Ok(()) => return Ok(()),
                // One by one they wait until there is room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.refused(train.to(), &error),
            }
        }
        let mut not_sent = None;
        for datagram in train.datagrams() {
            if let Err(error) = self.waiting.send_to(datagram, train.to()).await {
                let datagrams = not_sent.map_or(0, |NotSent { datagrams, .. }| datagrams) + 1;
                not_sent = Some(NotSent { datagrams, why: error.into() });
            }
        }
        not_sent.map_or(Ok(()), Err)
    }

    /// Whether a train is refused or the way is gone shows when they are sent one by one.
    fn refused(&self, to: SocketAddr, error: &io::Error) {
        let refusals = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP, libc::ENOPROTOOPT];
        if error.raw_os_error().is_some_and(|code| refusals.contains(&code)) {
            info!("datagrams to {to} leave one by one: the kernel does not cut them ({error})");
            self.refusing.borrow_mut().push(to);
        }
    }

    /// Datagrams that have arrived, if there are any.
    pub(super) fn receive_waiting(&self, buffer: &mut [u8]) -> Option<Arrived> {
        receive_now(&self.socket, buffer).ok()
    }

    /// Waits for datagrams.
    ///
    /// # Errors
    /// An answer to a datagram of ours (a port that nobody listens on), or memory is short.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<Arrived> {
        loop {
            match receive_now(&self.socket, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waited = self.waiting.peek_from(&mut [0]).await;
                    waited.map_err(|error| io::Error::other(error.to_string()))?;
                }
                arrived => return arrived,
            }
        }
    }
}

fn send_train(socket: &Socket, train: &Train) -> io::Result<()> {
    let to = SockAddr::from(train.to());
    let control = segment_message(train.segment() as u16);
    let buffers = [IoSlice::new(train.bytes())];
    let message = MsgHdr::new().with_addr(&to).with_buffers(&buffers).with_control(&control);
    socket.sendmsg(&message, libc::MSG_DONTWAIT).map(|_| ())
}

/// The control message that has the kernel cut a train.
fn segment_message(bytes: u16) -> [u8; CONTROL_BYTES] {
    let mut control = [0; CONTROL_BYTES];
    control[..size_of::<usize>()].copy_from_slice(&(HEAD_BYTES + size_of::<u16>()).to_ne_bytes());
    control[HEAD_BYTES - 8..HEAD_BYTES - 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control[HEAD_BYTES..HEAD_BYTES + size_of::<u16>()].copy_from_slice(&bytes.to_ne_bytes());
    control
}

/// The length of each datagram of a train that arrived, when the kernel says that it is one.
fn segment_of(control: &[u8; CONTROL_BYTES], length: usize) -> Option<usize> {
    let number = |at: usize| Some(i32::from_ne_bytes(control.get(at..at + 4)?.try_into().ok()?));
    let is_segment = number(HEAD_BYTES - 8)? == libc::SOL_UDP && number(HEAD_BYTES - 4)? == libc::UDP_GRO;
    let told = usize::try_from(number(HEAD_BYTES)?).ok().filter(|bytes| *bytes > 0);
    told.filter(|_| is_segment && length >= HEAD_BYTES + size_of::<libc::c_int>())
}

fn receive_now(socket: &Socket, buffer: &mut [u8]) -> io::Result<Arrived> {
    let mut control = [0; CONTROL_BYTES];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is a C structure for which all zeros is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), CONTROL_BYTES);
    let receive = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        message.msg_name = storage.cast();
        // SAFETY: the caller gives a storage and its length, both of which live until this returns.
        message.msg_namelen = unsafe { *length };
        // SAFETY: the descriptor is open as long as `socket` is borrowed; the message points to the storage,
        // to `buffer` by way of `part`, and to `control`, each with its length, and all outlive the call.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: as above; the kernel has written as much of an address, or none.
        unsafe { *length = message.msg_namelen };
        Ok(bytes)
    };
    // SAFETY: the storage has an address of the length that is told, written by the kernel, or none.
    let (bytes, from) = unsafe { SockAddr::try_init(receive) }?;
    let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    let segment = segment_of(&control, message.msg_controllen).unwrap_or(bytes);
    Ok(Arrived { bytes, segment, from })
}

#[cfg(test)]
mod tests {
    use glommio::LocalExecutorBuilder;

    use super::*;

    const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// How both sides are set up.
    #[derive(Clone, Copy, Debug)]
    struct Ways {
        arrive_together: bool,
        /// Asks the kernel for no checksums, with which it refuses to cut.
        refuse_trains: bool,
    }

    fn train(to: SocketAddr, lengths: &[usize]) -> Train {
        let mut train = Train::new();
        for (number, length) in lengths.iter().enumerate() {
            train.push(to, &vec![number as u8; *length]);
        }
        train
    }

    /// What arrives of trains of datagrams of these lengths.
    async fn pass(ways: Ways, trains: &[&[usize]]) -> (Vec<Vec<u8>>, usize, bool) {
        let receiver = bind(NOWHERE).unwrap();
        set_option(&receiver.socket, libc::SOL_UDP, libc::UDP_GRO, ways.arrive_together.into()).unwrap();
        let to = receiver.socket.local_addr().unwrap().as_socket().unwrap();
        let sender = bind(NOWHERE).unwrap();
        set_option(&sender.socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, ways.refuse_trains.into()).unwrap();
        let [sender, receiver] = [sender, receiver].map(PeerSocket::adopt);
        for lengths in trains {
            sender.send(&train(to, lengths)).await.unwrap();
        }
        let (mut arrived, mut calls) = (vec![], 0);
        let mut buffer = vec![0; RECEIVE_BYTES];
        let expected: usize = trains.iter().map(|lengths| lengths.len()).sum();
        while arrived.len() < expected {
            let Arrived { bytes, segment, from } = receiver.receive(&mut buffer).await.unwrap();
            assert_eq!(from.ip(), to.ip());
            arrived.extend(buffer[..bytes].chunks(segment).map(<[u8]>::to_vec));
            calls += 1;
        }
        (arrived, calls, !sender.refusing.borrow().is_empty())
    }

    #[test]
    fn datagrams_arrive_whole_whichever_way_they_were_sent() {
        let trains: [&[usize]; 4] = [&[1216; 48], &[1224, 100], &[71], &[1232, 1232, 1]];
        let whole: Vec<Vec<u8>> = trains
            .iter()
            .flat_map(|lengths| {
                lengths.iter().enumerate().map(|(number, length)| vec![number as u8; *length])
            })
            .collect();
        for arrive_together in [false, true] {
            for refuse_trains in [false, true] {
                let ways = Ways { arrive_together, refuse_trains };
                let executor =
                    LocalExecutorBuilder::default().spawn(move || async move { pass(ways, &trains).await });
                let (arrived, calls, refused) = executor.unwrap().join().unwrap();
                assert!(arrived == whole, "{ways:?}");
                assert_eq!(refused, refuse_trains, "{ways:?}");
                let least = if arrive_together && !refuse_trains { trains.len() } else { whole.len() };
                assert_eq!(calls, least, "{ways:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_sent_is_counted() {
        let executor = LocalExecutorBuilder::default().spawn(|| async move {
            let sender = PeerSocket::adopt(bind(NOWHERE).unwrap());
            // A broadcast, which was not asked for.
            let to = SocketAddr::from(([255, 255, 255, 255], 9));
            let not_sent = sender.send(&train(to, &[10, 10, 5])).await.unwrap_err();
            (not_sent.datagrams, not_sent.why.raw_os_error())
        });
        assert_eq!(
            executor.unwrap().join().unwrap(),
            (3, Some(libc::EACCES)),
            "and the kernel's reason is told"
        );
    }
}
