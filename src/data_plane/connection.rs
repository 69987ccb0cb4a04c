//! One connection of a data thread: what it holds, and which operations the kernel has for it.

use bytes::Bytes;

use super::storage::{HeldList, Partial};
use crate::ring::SendBuffer;
use crate::time::MonotonicNs;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection.
    #[default]
    Free,
    /// Requests are answered.
    Open,
    /// What was written is sent, then the connection ends.
    Finishing,
    /// We have said all; what still arrives is thrown away until the other side ends too, since a
    /// close with unread input would reset the connection and could destroy the last answer.
    Lingering,
    /// Nothing more is done; waits for the kernel to end its operations.
    Closing,
}

/// The multishot receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Receiving {
    /// None is submitted.
    #[default]
    Off,
    /// One is.
    On,
    /// One is, and its cancellation too.
    Stopping,
}

/// Which time-out a deadline stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waiting {
    /// For a request.
    #[default]
    Idle,
    /// For the rest of a head.
    Head,
    /// For the rest of a body.
    Body,
    /// For the client to take what is sent.
    Write,
    /// For the metrics page.
    Metrics,
    /// For the other side to end.
    End,
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Connection<P> {
    pub(super) stage: Stage,
    pub(super) protocol: P,
    pub(super) receiving: Receiving,
    /// The other side has ended.
    pub(super) ended: bool,
    pub(super) awaits_metrics: bool,
    /// It is counted among those that are served, here and with those of all threads; who is turned away is not.
    pub(super) is_served: bool,
    /// Something has arrived on it; while the server ends, since it began to.
    pub(super) has_asked: bool,
    /// A shutdown of our side is under way. The kernel looks the place up when it gets to it, perhaps
    /// after a close, so that the place must not have another connection by then.
    pub(super) shutting_down: bool,
    /// In this turn's list of connections to send on.
    pub(super) queued: bool,
    /// Counts lives, to tell a late metrics page for an earlier one.
    pub(super) life: u32,
    pub(super) waiting: Waiting,
    /// Until when the other side is waited for while it goes on sending, once we have said all.
    pub(super) lingers_until: MonotonicNs,
    /// Answers being written.
    pub(super) output: Option<SendBuffer>,
    /// Answers being sent.
    pub(super) sending: Option<SendBuffer>,
    /// The rest of a metrics page, sent in pieces.
    pub(super) page: Bytes,
    /// The name of that page.
    pub(super) page_round: u64,
    pub(super) held: HeldList,
    pub(super) partial: Option<Partial>,
}

impl<P> Connection<P> {
    /// Whether the kernel has operations that refer to the connection.
    pub(super) const fn has_operations(&self) -> bool {
        !matches!(self.receiving, Receiving::Off) || self.sending.is_some() || self.shutting_down
    }

    /// Whether everything that was written has been sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.sending.is_none() && self.output.is_none() && self.page.is_empty()
    }

    /// Whether nothing is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.is_flushed() && !self.has_input() && !self.awaits_metrics
    }

    pub(super) const fn has_input(&self) -> bool {
        self.partial.is_some() || !self.held.is_empty()
    }
}
