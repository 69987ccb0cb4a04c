//! What the kernel is told to do, and what it says of it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use io_uring::cqueue;
use rustix::io::Errno;

/// One ring of this process; buffers and completions of one are of no use to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingId(NonZeroU32);

impl RingId {
    /// A number that no other ring has, unless there were 2^32 of them.
    pub(super) fn next() -> Option<Self> {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| last.checked_add(1));
        NonZeroU32::new(last.ok()? + 1).map(Self)
    }
}

/// What a completion is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Accepting connections.
    Accept,
    /// Making a connection.
    Connect,
    /// Receiving.
    Receive,
    /// Sending.
    Send,
    /// Ending one's own side of a connection.
    Shutdown,
    /// Closing.
    Close,
    /// Cancelling another operation.
    Cancel,
    /// Waiting for a descriptor to become readable.
    Poll,
}

/// By their numbers.
const OPERATIONS: [Operation; 8] = [
    Operation::Accept,
    Operation::Connect,
    Operation::Receive,
    Operation::Send,
    Operation::Shutdown,
    Operation::Close,
    Operation::Cancel,
    Operation::Poll,
];

const OPERATION_SHIFT: u32 = 56;
const BUFFER_SHIFT: u32 = 32;
/// Send buffers that can be told apart.
pub(super) const MAX_BUFFERS: u32 = 1 << (OPERATION_SHIFT - BUFFER_SHIFT);

/// User data of a submission: the operation, for a send its buffer, and what it is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(pub(super) u64);

impl Tag {
    pub(super) const fn new(operation: Operation, index: u32) -> Self {
        Self((operation as u64) << OPERATION_SHIFT | index as u64)
    }

    /// Of a send of buffer number `buffer`, which is below [`MAX_BUFFERS`].
    pub(super) const fn of_send(buffer: u32, index: u32) -> Self {
        Self(Self::new(Operation::Send, index).0 | (buffer as u64) << BUFFER_SHIFT)
    }

    const fn operation(self) -> Operation {
        OPERATIONS[(self.0 >> OPERATION_SHIFT) as usize % OPERATIONS.len()]
    }

    const fn index(self) -> u32 {
        self.0 as u32
    }
}

/// The end of an operation, or one of many ends of a multishot. It can be neither made nor copied, so that what the
/// kernel hands over with it is taken once.
#[derive(Debug)]
pub struct Completion {
    pub(super) ring: RingId,
    pub(super) tag: Tag,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Completion {
    /// What ended.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        self.tag.operation()
    }

    /// What the submitter did it for.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.tag.index()
    }

    /// As the system call would return it: negative is an error number.
    #[must_use]
    pub const fn result(&self) -> i32 {
        self.result
    }

    /// The error that it ended with.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        if self.result < 0 { Some(Errno::from_raw_os_error(-self.result)) } else { None }
    }

    /// Whether the operation goes on and will complete again.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        cqueue::more(self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_it_was_made_of() {
        for (number, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
            let tag = Tag::new(operation, u32::MAX - 1);
            assert_eq!((tag.operation(), tag.index()), (operation, u32::MAX - 1));
        }
        let tag = Tag::of_send(MAX_BUFFERS - 1, u32::MAX);
        assert_eq!((tag.operation(), tag.index()), (Operation::Send, u32::MAX));
        assert_ne!(tag, Tag::of_send(MAX_BUFFERS - 2, u32::MAX));
    }
}
