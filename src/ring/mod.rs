//! One io_uring, owned by one thread, with the operations a server or a client of streams needs.
//!
//! [`Ring`] submits and reaps; [`ReceiveBuffers`] are the buffers the kernel picks for what arrives;
//! [`SendBuffers`] are those it reads what leaves from; a [`Destination`] is what a client connects to.
//! All unsafety is in this folder, and rests on three rules that the types keep: a receive buffer is
//! read only between its completion and its return, a send buffer is neither written nor freed while
//! the kernel may read it, and a destination lives until the kernel has taken the submission.
//!
//! Needs Linux 6.1: multishot accept and receive, provided-buffer rings, direct descriptors,
//! `SINGLE_ISSUER` with `DEFER_TASKRUN`.
#![allow(unsafe_code)]

mod connect;
mod error;
mod receive;
mod send;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode, types};
use rustix::io::Errno;

pub use connect::Destination;
pub use error::RingError;
pub use receive::{ReceiveBuffers, Received};
pub use send::{SendBuffer, SendBuffers};

/// A descriptor that exists only in the ring's own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DirectFile(pub u32);

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

/// The end of an operation, or one of many ends of a multishot.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// What the submitter gave.
    pub user_data: u64,
    /// As the system call would return it: negative is an error number.
    pub result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the operation goes on and will complete again.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// An io_uring.
pub struct Ring {
    uring: IoUring,
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
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(RingError::from_setup)?;
        let ring = Self { uring, destinations: Vec::new() };
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

    /// Buffers for what arrives on this ring; one set a ring, which is dropped before them.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn receive_buffers(&self, count: u16, bytes: usize) -> Result<ReceiveBuffers, RingError> {
        ReceiveBuffers::register(&self.uring, count, bytes)
    }

    /// Accepts from `listener` until cancelled, each connection into a free direct descriptor, which
    /// is the completion's result. The listener must stay open for as long.
    pub fn accept_multishot(&mut self, listener: &impl AsFd, user_data: u64) {
        let fd = types::Fd(listener.as_fd().as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    /// Connects the socket in place `file` to `destination`.
    pub fn connect(&mut self, file: DirectFile, destination: &Destination, user_data: u64) {
        let address = destination.address();
        let entry = opcode::Connect::new(types::Fixed(file.0), address.as_ptr().cast(), address.len());
        self.destinations.push(destination.clone());
        // SAFETY: the kernel copies the address when it takes the submission, and the address lives
        // in `destinations` until `wait` has seen that nothing is left to be taken.
        unsafe { self.push(entry.build().user_data(user_data)) };
    }

    /// Receives from `file` until cancelled, into buffers of the kernel's choice.
    pub fn receive_multishot(&mut self, file: DirectFile, buffers: &ReceiveBuffers, user_data: u64) {
        let entry = opcode::RecvMulti::new(types::Fixed(file.0), buffers.group()).build();
        // SAFETY: the operation refers to no memory but the registered buffers.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    /// Sends what is unsent of a buffer, as much of it as the kernel takes at once when it takes any; the
    /// buffer is the kernel's until [`SendBuffers::sent`].
    pub fn send(&mut self, file: DirectFile, buffers: &SendBuffers, buffer: &mut SendBuffer, user_data: u64) {
        // From <linux/socket.h>: no SIGPIPE. Not MSG_WAITALL, which would hide that a client takes
        // something until it has taken all.
        const MSG_NOSIGNAL: i32 = 0x4000;
        let (start, len) = buffers.begin(buffer);
        let send = opcode::Send::new(types::Fixed(file.0), start, len).flags(MSG_NOSIGNAL);
        // SAFETY: `begin` marked the buffer as the kernel's, so it is neither written nor reused; its
        // memory lives as long as `buffers`, which the owner drops after the ring.
        unsafe { self.push(send.build().user_data(user_data)) };
    }

    /// Tells the other side that no more will be sent.
    pub fn shutdown_write(&mut self, file: DirectFile, user_data: u64) {
        const SHUT_WR: i32 = 1;
        let entry = opcode::Shutdown::new(types::Fixed(file.0), SHUT_WR).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    /// Closes a direct descriptor and frees its place.
    pub fn close(&mut self, file: DirectFile, user_data: u64) {
        let entry = opcode::Close::new(types::Fixed(file.0)).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    /// Cancels the operation that was submitted with `target`.
    pub fn cancel(&mut self, target: u64, user_data: u64) {
        let entry = opcode::AsyncCancel::new(target).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry.user_data(user_data)) };
    }

    /// Completes each time `fd` becomes readable. It must stay open for as long.
    pub fn poll_readable(&mut self, fd: &impl AsFd, user_data: u64) {
        const POLLIN: u32 = 1;
        let entry = opcode::PollAdd::new(types::Fd(fd.as_fd().as_raw_fd()), POLLIN).multi(true).build();
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(entry.user_data(user_data)) };
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
                _ => Err(error),
            },
        }
    }

    /// The next completion that is there.
    #[inline]
    pub fn completion(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        Some(Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() })
    }

    /// # Safety
    /// Memory that `entry` refers to stays valid, and is not written, until it completes.
    unsafe fn push(&mut self, entry: Entry) {
        // SAFETY: the caller's promise.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            // The queue is full, and the kernel takes all of it (SUBMIT_ALL). A failure here shows
            // again, and is handled, in `wait`.
            let _ = self.uring.submit();
        }
    }
}
