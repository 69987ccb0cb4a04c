//! Buffers that the kernel reads what leaves from.
//!
//! All of one size, allocated once; a page that was never written costs no memory. The last buffer
//! returned is the next taken, so that few are warm.

use std::io;
use std::sync::Arc;

use super::completion::{Completion, MAX_BUFFERS, RingId, Tag};
use crate::memory::Pages;

/// A buffer taken from [`SendBuffers`], with what was written so far.
#[derive(Debug)]
pub struct SendBuffer {
    ring: RingId,
    index: u32,
    /// Bytes at the front that have been sent.
    sent: u32,
    len: u32,
    /// What it is being sent for.
    in_flight: Option<u32>,
}

impl SendBuffer {
    /// Bytes written and not sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.len - self.sent) as usize
    }

    /// Whether nothing is left to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == self.sent
    }

    /// The send that the kernel has it for.
    pub(super) fn send(&self) -> Option<Tag> {
        self.in_flight.map(|index| Tag::of_send(self.index, index))
    }
}

/// The buffers.
///
/// Invariant: an index below `count` is in `free` or in one [`SendBuffer`] of this ring at most, so the memory of a
/// buffer is reached through one owner only; one in flight is neither written nor reused. It is in flight until the
/// completion of its send is given up for it: only a ring makes completions, one a send, and only one send of a buffer
/// is under way.
#[derive(Debug)]
pub struct SendBuffers {
    ring: RingId,
    memory: Arc<Pages>,
    bytes: usize,
    free: Vec<u32>,
}

impl SendBuffers {
    /// `count` buffers of `bytes` each, in memory that the ring keeps too.
    pub(super) fn new(ring: RingId, count: u32, bytes: usize) -> io::Result<(Self, Arc<Pages>)> {
        let fits = count <= MAX_BUFFERS && u32::try_from(bytes).is_ok();
        let all = fits.then(|| (count as usize).checked_mul(bytes)).flatten();
        let all = all.ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = Arc::new(Pages::new(all, false)?);
        let buffers = Self { ring, memory: Arc::clone(&memory), bytes, free: (0..count).rev().collect() };
        Ok((buffers, memory))
    }

    /// A free buffer, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<SendBuffer> {
        let index = self.free.pop()?;
        Some(SendBuffer { ring: self.ring, index, sent: 0, len: 0, in_flight: None })
    }

    /// Gives a buffer back, once the kernel is done with it.
    ///
    /// # Panics
    /// When the kernel is not, or the buffer is another ring's.
    pub fn give_back(&mut self, buffer: SendBuffer) {
        assert!(buffer.ring == self.ring, "a buffer belongs to one ring");
        assert!(buffer.in_flight.is_none(), "the kernel may still read this buffer");
        self.free.push(buffer.index);
    }

    /// The part of a buffer that is not written yet; nothing while the buffer is in flight.
    #[inline]
    pub fn unwritten<'b>(&'b mut self, buffer: &'b mut SendBuffer) -> &'b mut [u8] {
        let from = if buffer.in_flight.is_some() { self.bytes } else { buffer.len as usize };
        let start = self.address(buffer).wrapping_add(from);
        // SAFETY: `address` is the start of this buffer's part of the pages and `len` is `bytes` at most, so the range
        // is inside that part; by the invariant nobody else holds it and the kernel does not read it, and the two
        // exclusive borrows keep it so while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(start, self.bytes - from) }
    }

    /// Notes that `bytes` more were written.
    #[inline]
    pub fn wrote(&self, buffer: &mut SendBuffer, bytes: usize) {
        assert!(buffer.ring == self.ring, "a buffer belongs to one ring");
        buffer.len = (buffer.len as usize).saturating_add(bytes).min(self.bytes) as u32;
    }

    /// Hands the buffer to the kernel: where its unsent bytes are, how many, and the tag of the send.
    ///
    /// # Panics
    /// When the kernel has it already, or it or the whole set is of another ring than `ring`.
    pub(super) fn begin(&self, ring: RingId, buffer: &mut SendBuffer, index: u32) -> (*const u8, u32, Tag) {
        assert!(self.ring == ring, "a ring sends from its own buffers: it keeps their memory");
        assert!(buffer.in_flight.is_none(), "the kernel has this buffer already");
        let start = self.address(buffer).wrapping_add(buffer.sent as usize);
        buffer.in_flight = Some(index);
        (start.cast_const(), buffer.len - buffer.sent, Tag::of_send(buffer.index, index))
    }

    /// Takes the buffer back when its send has completed. Returns the bytes of it that were sent: none when the
    /// connection is broken.
    ///
    /// # Panics
    /// When the completion is not of the send that the kernel has the buffer for.
    #[inline]
    pub fn sent(&self, buffer: &mut SendBuffer, completion: Completion) -> usize {
        let is_its_own = completion.ring == buffer.ring && buffer.send() == Some(completion.tag);
        assert!(is_its_own, "a buffer is the kernel's until its own send has completed");
        buffer.in_flight = None;
        let bytes = u32::try_from(completion.result).unwrap_or(0).min(buffer.len - buffer.sent);
        buffer.sent += bytes;
        bytes as usize
    }

    fn address(&self, buffer: &SendBuffer) -> *mut u8 {
        assert!(buffer.ring == self.ring, "a buffer belongs to one ring");
        self.memory.start().wrapping_add(buffer.index as usize * self.bytes)
    }
}
