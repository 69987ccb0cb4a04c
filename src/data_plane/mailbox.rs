//! What other threads tell a data thread: by queues it polls when it is woken, never by its memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};

use crate::bucket::policy::PolicySet;

/// Sets of policies not taken yet; only the last one counts.
const POLICIES_QUEUED: usize = 4;
/// Metrics pages under way to one core: the one it waits for, and those that are late.
const REPLIES_QUEUED: usize = 8;

/// A data thread asks the control plane for the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderRequest {
    /// The data thread.
    pub core: usize,
    /// Its name for the page.
    pub token: u64,
}

/// The control plane's answer to a [`RenderRequest`].
#[derive(Clone, Debug)]
pub struct RenderReply {
    /// As asked.
    pub token: u64,
    /// The page.
    pub body: Bytes,
}

/// How far a data thread is to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Serves.
    Running = 0,
    /// Takes no connections, answers what is open, and ends.
    Draining = 1,
    /// Ends now.
    Stopping = 2,
}

/// The mailbox of one data thread.
#[derive(Debug)]
pub(super) struct Mailbox {
    wake: OwnedFd,
    phase: AtomicU8,
    policies: ArrayQueue<Arc<PolicySet>>,
    replies: ArrayQueue<RenderReply>,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            phase: AtomicU8::new(Phase::Running as u8),
            policies: ArrayQueue::new(POLICIES_QUEUED),
            replies: ArrayQueue::new(REPLIES_QUEUED),
        })
    }

    pub(super) fn send_policies(&self, policies: Arc<PolicySet>) {
        self.policies.force_push(policies);
        self.wake();
    }

    /// A reply for which there is no room is dropped; connections that wait for it are refused in time.
    pub(super) fn send_reply(&self, reply: RenderReply) {
        if self.replies.push(reply).is_ok() {
            self.wake();
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        // Release and acquire: what the sender did before is seen by the thread that reads the phase.
        self.phase.fetch_max(phase as u8, Ordering::Release);
        self.wake();
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    pub(super) fn policies(&self) -> Option<Arc<PolicySet>> {
        std::iter::from_fn(|| self.policies.pop()).last()
    }

    pub(super) fn reply(&self) -> Option<RenderReply> {
        self.replies.pop()
    }

    pub(super) fn wake(&self) {
        // Only a full counter refuses, and then the thread is being woken already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Resets the wake-up, so that the next one shows.
    pub(super) fn awake(&self) {
        let mut counter = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut counter);
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
