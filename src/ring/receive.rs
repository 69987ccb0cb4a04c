//! Buffers that the kernel picks for what arrives: a provided-buffer ring.
//!
//! The kernel owns a buffer while its entry is in the ring. A completion hands it over as a
//! [`Received`], which is the only way to read it and is used up by giving it back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue};

use super::RingError;
use super::completion::{Completion, RingId};
use crate::memory::Pages;

/// The only group of a ring.
const GROUP: u16 = 0;

/// Bytes that arrived, in a buffer that this value owns until it is given back.
#[derive(Debug)]
pub struct Received {
    ring: RingId,
    buffer: u16,
    start: u32,
    end: u32,
}

impl Received {
    /// Bytes not used up yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether all bytes are used up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Uses up the first `bytes`, or all there are.
    pub fn advance(&mut self, bytes: usize) {
        self.start += bytes.min(self.len()) as u32;
    }

    /// The number of the buffer, below [`ReceiveBuffers::count`].
    #[must_use]
    pub const fn buffer(&self) -> u16 {
        self.buffer
    }
}

/// The buffers.
///
/// Invariant: for each buffer either its entry is in the ring, and the kernel may write it, or one
/// [`Received`] of it exists at most, and the kernel does not touch it. The kernel names a buffer in one completion,
/// and nothing but that completion, which is given up for it, makes a [`Received`].
#[derive(Debug)]
pub struct ReceiveBuffers {
    ring: RingId,
    entries: Arc<Pages>,
    memory: Arc<Pages>,
    count: u16,
    bytes: usize,
    tail: u16,
    lent: u16,
}

impl ReceiveBuffers {
    /// Registers `count` buffers of `bytes` each with `uring`, which must be dropped before the pages that come with
    /// them.
    pub(super) fn register(
        ring: RingId,
        uring: &IoUring,
        count: u16,
        bytes: usize,
    ) -> Result<(Self, [Arc<Pages>; 2]), RingError> {
        let count = count.next_power_of_two();
        let all = usize::from(count).checked_mul(bytes).filter(|_| u32::try_from(bytes).is_ok());
        let all = all.ok_or_else(|| RingError::NoMemory(io::ErrorKind::OutOfMemory.into()))?;
        let pages = |bytes, huge| Pages::new(bytes, huge).map(Arc::new).map_err(RingError::NoMemory);
        let entries = pages(usize::from(count) * size_of::<BufRingEntry>(), false)?;
        let memory = pages(all, true)?;
        // SAFETY: the pages hold `count` entries, are page-aligned, and are unmapped only after the
        // ring is gone: the caller keeps them with it.
        unsafe { uring.submitter().register_buf_ring_with_flags(entries.start() as u64, count, GROUP, 0) }
            .map_err(RingError::from_setup)?;
        let kept = [Arc::clone(&entries), Arc::clone(&memory)];
        let mut buffers = Self { ring, entries, memory, count, bytes, tail: 0, lent: count };
        (0..count).for_each(|buffer| buffers.add(buffer));
        Ok((buffers, kept))
    }

    pub(super) const fn group(&self) -> u16 {
        GROUP
    }

    /// Buffers in all.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that the kernel has.
    #[must_use]
    pub const fn free(&self) -> u16 {
        self.count - self.lent
    }

    /// Takes over the buffer of a receive's completion, if there is one.
    ///
    /// # Panics
    /// When the completion is another ring's.
    #[inline]
    pub fn take(&mut self, completion: Completion) -> Option<Received> {
        let buffer = cqueue::buffer_select(completion.flags)?;
        let end = u32::try_from(completion.result).unwrap_or(0);
        assert!(completion.ring == self.ring, "a completion belongs to one ring");
        assert!(buffer < self.count && end as usize <= self.bytes, "the kernel fills buffers that it has");
        self.lent += 1;
        Some(Received { ring: self.ring, buffer, start: 0, end })
    }

    /// The bytes of a buffer that are not used up.
    ///
    /// # Panics
    /// When the buffer is another ring's.
    #[inline]
    #[must_use]
    pub fn bytes<'b>(&'b self, received: &'b Received) -> &'b [u8] {
        assert!(received.ring == self.ring, "a buffer belongs to one ring");
        let start = self.address(received.buffer).wrapping_add(received.start as usize);
        // SAFETY: by the invariant the kernel does not touch a buffer that is lent; `take` has seen that the bytes
        // up to `end` are inside it, and `start` is not past `end`.
        unsafe { std::slice::from_raw_parts(start, received.len()) }
    }

    /// Gives a buffer back to the kernel.
    ///
    /// # Panics
    /// When the buffer is another ring's.
    #[inline]
    pub fn give_back(&mut self, received: Received) {
        assert!(received.ring == self.ring, "a buffer belongs to one ring");
        self.add(received.buffer);
    }

    /// Where a buffer begins, whose number is below `count`.
    fn address(&self, buffer: u16) -> *mut u8 {
        self.memory.start().wrapping_add(usize::from(buffer) * self.bytes)
    }

    fn add(&mut self, buffer: u16) {
        let ring = self.entries.start().cast::<BufRingEntry>();
        let place = usize::from(self.tail & (self.count - 1));
        let address = self.address(buffer) as u64;
        // SAFETY: `place` is inside the ring's pages. The kernel reads an entry only after the tail has
        // passed it, and no more than `count` are ever in the ring, so it reads this one no more.
        unsafe {
            let entry = &mut *ring.add(place);
            entry.set_addr(address);
            entry.set_len(self.bytes as u32);
            entry.set_bid(buffer);
        }
        self.lent -= 1;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of the first entry that the setters above do not touch, aligned
        // for its type. The kernel reads it with acquire, so the release shows it the entry first.
        unsafe {
            let tail = BufRingEntry::tail(ring).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}
