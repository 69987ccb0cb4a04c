//! One io_uring, owned by one thread, with the operations a server or a client of streams needs.
//!
//! [`Ring`] submits and reaps; [`ReceiveBuffers`] are the buffers the kernel picks for what arrives;
//! [`SendBuffers`] are those it reads what leaves from; a [`Destination`] is what a client connects to.
//! All unsafety is in this folder, and rests on rules that the types keep, whatever a caller does:
//!
//! - A receive buffer is read only between its completion and its return. A [`Completion`] comes from a ring alone and
//!   is given up for the buffer.
//! - A send buffer is neither written nor reused while the kernel may read it: until the completion of its own send is
//!   given up for it.
//! - The ring keeps the memory of its buffers, and lets go of it last: the kernel touches it only while this thread is
//!   in a call to the ring.
//! - A destination lives until the kernel has taken the submission.
//! - What belongs to one ring is refused by another.
//!
//! Needs Linux 6.1: multishot accept and receive, provided-buffer rings, direct descriptors,
//! `SINGLE_ISSUER` with `DEFER_TASKRUN`.
#![allow(unsafe_code)]

mod completion;
mod connect;
mod error;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{EnterFlags, IoUring, opcode, types};
use rustix::io::Errno;

use self::completion::{RingId, Tag};
use crate::memory::Pages;

pub use completion::{Completion, Operation};
pub use connect::Destination;
pub use error::RingError;
pub use receive::{ReceiveBuffers, Received};
pub use send::{SendBuffer, SendBuffers};

/// How long the kernel is left to itself when it has no memory for a submission.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// A descriptor that exists only in the ring's own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectFile(pub u32);

/// Bytes that a receive buffer usually has: several pipelined requests or answers.
pub const RECEIVE_BYTES: usize = 4096;
/// Receive buffers that a ring usually has.
pub const RECEIVE_BUFFERS: u16 = 2048;

/// Queues are made no shorter than this to fit a limit.
const LEAST_SUBMISSIONS: u32 = 256;

/// What a ring is made with.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submissions that fit between two calls to the kernel; more are submitted early.
    pub submissions: u32,
    /// Completions that fit; more are kept by the kernel, at a cost.
    pub completions: u32,
    /// Direct descriptors.
    pub files: u32,
}

impl RingConfig {
    /// Of a ring for so many connections, one of several `rings` of the process.
    ///
    /// Since Linux 6.14 queues count as locked memory, of which a user has a few megabytes as a rule: many rings have
    /// shorter queues where whole ones would take more than half of the limit.
    #[must_use]
    pub fn of_connections(connections: u32, rings: usize) -> Self {
        let whole = Self { submissions: 4096, completions: 16_384, files: connections };
        whole.within(crate::limits::lockable().map(|bytes| bytes / 2 / rings.max(1) as u64))
    }

    /// With queues halved until they, and the usual receive buffers' ring, take at most so many bytes.
    fn within(mut self, bytes: Option<u64>) -> Self {
        while bytes.is_some_and(|bytes| self.locked_bytes() > bytes) && self.submissions > LEAST_SUBMISSIONS {
            self.submissions /= 2;
            self.completions /= 2;
        }
        self
    }

    /// What the kernel may count as locked.
    fn locked_bytes(&self) -> u64 {
        const SUBMISSION: usize = size_of::<Entry>() + size_of::<u32>();
        const COMPLETION: usize = size_of::<io_uring::cqueue::Entry>();
        const BUFFERS: usize = RECEIVE_BUFFERS as usize * size_of::<types::BufRingEntry>();
        (self.submissions as usize * SUBMISSION + self.completions as usize * COMPLETION + BUFFERS) as u64
    }
}

/// An io_uring.
pub struct Ring {
    id: RingId,
    /// Before the memory, so that it is dropped first.
    uring: IoUring,
    /// What the kernel reads and writes by operations of this ring.
    memory: Vec<Arc<Pages>>,
    has_send_buffers: bool,
    /// What is referred to by submissions that the kernel may not have taken yet.
    destinations: Vec<Destination>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("fd", &self.uring.as_raw_fd()).finish()
    }
}

impl Ring {
    /// A ring that the calling thread alone will use.
    ///
    /// # Errors
    /// When the kernel has no io_uring, forbids it, or lacks something; the message says the remedy.
    pub fn new(config: RingConfig) -> Result<Self, RingError> {
        let id = RingId::next().ok_or_else(|| RingError::Other(io::Error::other("no more rings")))?;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(RingError::from_setup)?;
        let ring = Self { id, uring, memory: Vec::new(), has_send_buffers: false, destinations: Vec::new() };
        ring.check_operations()?;
        // A filter may forbid the one system call that nothing before this needs.
        ring.uring.submitter().submit().map_err(RingError::from_enter)?;
        let files = ring.uring.submitter().register_files_sparse(config.files);
        files.map_err(|source| RingError::from_files(source, config.files))?;
        Ok(ring)
    }

    fn check_operations(&self) -> Result<(), RingError> {
        let mut probe = io_uring::register::Probe::new();
        self.uring.submitter().register_probe(&mut probe).map_err(RingError::from_setup)?;
        let needed = [
            (opcode::AcceptMulti::CODE, "accept"),
            (opcode::Connect::CODE, "connect"),
            (opcode::RecvMulti::CODE, "recv"),
            (opcode::Send::CODE, "send"),
            (opcode::Shutdown::CODE, "shutdown"),
            (opcode::Close::CODE, "close"),
            (opcode::AsyncCancel::CODE, "async cancel"),
            (opcode::PollAdd::CODE, "poll"),
        ];
        let missing = needed.iter().find(|(code, _)| !probe.is_supported(*code));
        missing.map_or(Ok(()), |(_, name)| Err(RingError::MissingOperation(name)))
    }

    /// Buffers for what arrives on this ring; one set a ring.
    ///
    /// # Errors
    /// When the kernel does not take them, as when it has a set already.
    pub fn receive_buffers(&mut self, count: u16, bytes: usize) -> Result<ReceiveBuffers, RingError> {
        let (buffers, pages) = ReceiveBuffers::register(self.id, &self.uring, count, bytes)?;
        self.memory.extend(pages);
        Ok(buffers)
    }

    /// Buffers for what leaves by this ring; one set a ring.
    ///
    /// # Errors
    /// When there is not that much address space, or there is a set already.
    pub fn send_buffers(&mut self, count: u32, bytes: usize) -> io::Result<SendBuffers> {
        if self.has_send_buffers {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (buffers, pages) = SendBuffers::new(self.id, count, bytes)?;
        self.has_send_buffers = true;
        self.memory.push(pages);
        Ok(buffers)
    }

    /// Accepts from `listener` until cancelled, each connection into a free direct descriptor, which
    /// is the completion's result. The listener must stay open for as long.
    pub fn accept_multishot(&mut self, listener: &impl AsFd, index: u32) {
        let fd = types::Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry, Tag::new(Operation::Accept, index)) };
    }

    /// Accepts one connection from `listener`, as [`Ring::accept_multishot`] does many.
    pub fn accept_once(&mut self, listener: &impl AsFd, index: u32) {
        let fd = types::Fd(listener.as_fd().as_raw_fd());
        let accept = opcode::Accept::new(fd, ptr::null_mut(), ptr::null_mut());
        let entry = accept.file_index(Some(types::DestinationSlot::auto_target())).build();
        // SAFETY: the operation refers to no memory; nobody asks for the address.
        unsafe { self.push(entry, Tag::new(Operation::Accept, index)) };
    }

    /// Connects the socket in place `file` to `destination`.
    pub fn connect(&mut self, file: DirectFile, destination: &Destination, index: u32) {
        let address = destination.address();
        let entry = opcode::Connect::new(types::Fixed(file.0), address.as_ptr().cast(), address.len());
        self.destinations.push(destination.clone());
        // SAFETY: the kernel copies the address when it takes the submission, and the address lives
        // in `destinations` until `wait` has seen that nothing is left to be taken.
        unsafe { self.push(entry.build(), Tag::new(Operation::Connect, index)) };
    }

    /// Receives from `file` until cancelled, into buffers of the kernel's choice.
    pub fn receive_multishot(&mut self, file: DirectFile, buffers: &ReceiveBuffers, index: u32) {
        let entry = opcode::RecvMulti::new(types::Fixed(file.0), buffers.group()).build();
        // SAFETY: the operation refers to no memory but the registered buffers of this ring.
        unsafe { self.push(entry, Tag::new(Operation::Receive, index)) };
    }

    /// Sends what is unsent of a buffer, as much of it as the kernel takes at once when it takes any; the
    /// buffer is the kernel's until [`SendBuffers::sent`].
    ///
    /// # Panics
    /// When the kernel has the buffer already, or it is another ring's.
    pub fn send(&mut self, file: DirectFile, buffers: &SendBuffers, buffer: &mut SendBuffer, index: u32) {
        // From <linux/socket.h>: no SIGPIPE. Not MSG_WAITALL, which would hide that a client takes
        // something until it has taken all.
        const MSG_NOSIGNAL: i32 = 0x4000;
        let (start, len, tag) = buffers.begin(self.id, buffer, index);
        let send = opcode::Send::new(types::Fixed(file.0), start, len).flags(MSG_NOSIGNAL);
        // SAFETY: `begin` marked the buffer as the kernel's, so it is neither written nor reused, and saw that
        // it is of this ring, which keeps its memory.
        unsafe { self.push(send.build(), tag) };
    }

    /// Tells the other side that no more will be sent.
    pub fn shutdown_write(&mut self, file: DirectFile, index: u32) {
        const SHUT_WR: i32 = 1;
        let entry = opcode::Shutdown::new(types::Fixed(file.0), SHUT_WR).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry, Tag::new(Operation::Shutdown, index)) };
    }

    /// Closes a direct descriptor and frees its place.
    pub fn close(&mut self, file: DirectFile, index: u32) {
        let entry = opcode::Close::new(types::Fixed(file.0)).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry, Tag::new(Operation::Close, index)) };
    }

    /// Cancels an operation that was submitted for `index`; for a send there is [`Ring::cancel_send`].
    pub fn cancel(&mut self, operation: Operation, index: u32) {
        self.cancel_tagged(Tag::new(operation, index), index);
    }

    /// Cancels the send of a buffer that was submitted for `index`, if there is one.
    pub fn cancel_send(&mut self, buffer: &SendBuffer, index: u32) {
        if let Some(send) = buffer.send() {
            self.cancel_tagged(send, index);
        }
    }

    fn cancel_tagged(&mut self, target: Tag, index: u32) {
        let entry = opcode::AsyncCancel::new(target.0).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry, Tag::new(Operation::Cancel, index)) };
    }

    /// Completes each time `fd` becomes readable. It must stay open for as long.
    pub fn poll_readable(&mut self, fd: &impl AsFd, index: u32) {
        const POLLIN: u32 = 1;
        let entry = opcode::PollAdd::new(types::Fd(fd.as_fd().as_raw_fd()), POLLIN).multi(true).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry, Tag::new(Operation::Poll, index)) };
    }

    /// Adopts an ordinary descriptor into place `file` of the ring's table.
    ///
    /// # Errors
    /// When the place does not exist.
    pub fn adopt(&self, file: DirectFile, fd: &impl AsFd) -> io::Result<()> {
        let fds = [fd.as_fd().as_raw_fd()];
        self.uring.submitter().register_files_update(file.0, &fds).map(drop)
    }

    /// Submits what was queued and waits for a completion, at most `timeout`.
    ///
    /// # Errors
    /// When the ring itself fails; a time-out or a signal is no error.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let limit = types::Timespec::from(timeout);
        let args = types::SubmitArgs::new().timespec(&limit);
        let submitted = self.uring.submitter().submit_with_args(1, &args);
        if !self.destinations.is_empty() && self.uring.submission().is_empty() {
            self.destinations.clear();
        }
        match submitted {
            Ok(_) => Ok(()),
            // BUSY: completions must be reaped first, which the caller does next.
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::TIME | Errno::INTR | Errno::BUSY) => Ok(()),
                Some(Errno::AGAIN) => {
                    self.catch_up();
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    /// Lets the kernel finish operations, which gives memory back, when it had none for a submission: what was
    /// submitted stays queued, and nothing completes in a call that fails to submit.
    fn catch_up(&self) {
        let completions = EnterFlags::GETEVENTS.bits();
        // SAFETY: the call submits nothing and passes no argument.
        let _ = unsafe { self.uring.submitter().enter::<()>(0, 0, completions, None) };
        std::thread::sleep(RETRY_PAUSE);
    }

    /// The next completion that is there.
    #[inline]
    pub fn completion(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        let (tag, flags) = (Tag(entry.user_data()), entry.flags());
        Some(Completion { ring: self.id, tag, result: entry.result(), flags })
    }

    /// # Safety
    /// Memory that `entry` refers to stays valid, and is not written, until it completes.
    unsafe fn push(&mut self, entry: Entry, tag: Tag) {
        let entry = entry.user_data(tag.0);
        // SAFETY: the caller's promise.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            // The queue is full, and the kernel takes all of it (SUBMIT_ALL). A failure here shows
            // again, and is handled, in `wait`.
            if self.uring.submit().is_err() {
                self.catch_up();
            }
        }
    }
}
