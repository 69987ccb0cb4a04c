//! Buffers that the kernel reads what leaves from.
//!
//! All of one size, allocated once; a page that was never written costs no memory. The last buffer
//! returned is the next taken, so that few are warm.

use std::io;

use crate::memory::Pages;

/// A buffer taken from [`SendBuffers`], with what was written so far.
#[derive(Debug)]
pub struct SendBuffer {
    index: u32,
    /// Bytes at the front that have been sent.
    sent: u32,
    len: u32,
    in_flight: bool,
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
}

/// The buffers.
///
/// Invariant: an index is in `free` or in exactly one [`SendBuffer`], so the memory of a buffer is
/// reached through one owner only; one in flight is neither written nor reused.
#[derive(Debug)]
pub struct SendBuffers {
    memory: Pages,
    bytes: usize,
    free: Vec<u32>,
}

impl SendBuffers {
    /// `count` buffers of `bytes` each.
    ///
    /// # Errors
    /// When there is not that much address space.
    pub fn new(count: u32, bytes: usize) -> io::Result<Self> {
        let memory = Pages::new(count as usize * bytes, false)?;
        Ok(Self { memory, bytes, free: (0..count).rev().collect() })
    }

    /// A free buffer, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<SendBuffer> {
        self.free.pop().map(|index| SendBuffer { index, sent: 0, len: 0, in_flight: false })
    }

    /// Gives a buffer back, once the kernel is done with it.
    pub fn give_back(&mut self, buffer: SendBuffer) {
        debug_assert!(!buffer.in_flight, "the kernel may still read this buffer");
        if !buffer.in_flight {
            self.free.push(buffer.index);
        }
    }

    /// The part of a buffer that is not written yet; nothing while the buffer is in flight.
    #[inline]
    pub fn unwritten<'b>(&'b mut self, buffer: &'b mut SendBuffer) -> &'b mut [u8] {
        let from = if buffer.in_flight { self.bytes } else { buffer.len as usize };
        let start = self.address(buffer).wrapping_add(from);
        // SAFETY: the range is inside this buffer's part of the pages; by the invariant nobody else
        // holds it, and the two exclusive borrows keep it so while the slice lives.
        unsafe { std::slice::from_raw_parts_mut(start, self.bytes - from) }
    }

    /// Notes that `bytes` more were written.
    #[inline]
    pub fn wrote(&self, buffer: &mut SendBuffer, bytes: usize) {
        buffer.len = (buffer.len as usize + bytes).min(self.bytes) as u32;
    }

    /// Hands the buffer to the kernel: where its unsent bytes are, and how many.
    pub(super) fn begin(&self, buffer: &mut SendBuffer) -> (*const u8, u32) {
        buffer.in_flight = true;
        let start = self.address(buffer).wrapping_add(buffer.sent as usize);
        (start.cast_const(), buffer.len - buffer.sent)
    }

    /// Takes the buffer back when its send has completed, `bytes` of it sent.
    #[inline]
    pub fn sent(&self, buffer: &mut SendBuffer, bytes: usize) {
        buffer.in_flight = false;
        buffer.sent = (buffer.sent as usize + bytes).min(buffer.len as usize) as u32;
    }

    fn address(&self, buffer: &SendBuffer) -> *mut u8 {
        self.memory.start().wrapping_add(buffer.index as usize * self.bytes)
    }
}
