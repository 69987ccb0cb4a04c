//! Buffers that the kernel picks for what arrives: a provided-buffer ring.
//!
//! The kernel owns a buffer while its entry is in the ring. A completion hands it over as a
//! [`Received`], which is the only way to read it and is used up by giving it back.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::{IoUring, cqueue};

use super::{Completion, RingError};
use crate::memory::Pages;

/// The only group of a ring.
const GROUP: u16 = 0;

/// Bytes that arrived, in a buffer that this value owns until it is given back.
#[derive(Debug)]
pub struct Received {
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
/// [`Received`] of it exists, and the kernel does not touch it.
#[derive(Debug)]
pub struct ReceiveBuffers {
    entries: Pages,
    memory: Pages,
    count: u16,
    bytes: usize,
    tail: u16,
    lent: u16,
}

impl ReceiveBuffers {
    pub(super) fn register(uring: &IoUring, count: u16, bytes: usize) -> Result<Self, RingError> {
        let count = count.next_power_of_two();
        let entries = Pages::new(usize::from(count) * size_of::<BufRingEntry>(), false);
        let entries = entries.map_err(RingError::NoMemory)?;
        let memory = Pages::new(usize::from(count) * bytes, true).map_err(RingError::NoMemory)?;
        // SAFETY: the pages hold `count` entries, are page-aligned, and are unmapped only after the
        // ring is gone, since the owner drops it first.
        unsafe { uring.submitter().register_buf_ring_with_flags(entries.start() as u64, count, GROUP, 0) }
            .map_err(RingError::from_setup)?;
        let mut buffers = Self { entries, memory, count, bytes, tail: 0, lent: count };
        (0..count).for_each(|buffer| buffers.add(buffer));
        Ok(buffers)
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
    #[inline]
    pub fn take(&mut self, completion: &Completion) -> Option<Received> {
        let buffer = cqueue::buffer_select(completion.flags)?;
        self.lent += 1;
        let end = u32::try_from(completion.result).unwrap_or(0);
        Some(Received { buffer, start: 0, end })
    }

    /// The bytes of a buffer that are not used up.
    #[inline]
    #[must_use]
    pub fn bytes<'b>(&'b self, received: &'b Received) -> &'b [u8] {
        let start = self.address(received.buffer).wrapping_add(received.start as usize);
        // SAFETY: by the invariant the kernel does not touch a buffer that is lent; it wrote the bytes
        // up to `end`, which are inside the buffer, and `start` is not past it.
        unsafe { std::slice::from_raw_parts(start, received.len()) }
    }

    /// Gives a buffer back to the kernel.
    #[inline]
    pub fn give_back(&mut self, received: Received) {
        self.add(received.buffer);
    }

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
