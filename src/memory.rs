//! Anonymous memory from the kernel: page-aligned, zero, never moved.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// A private mapping, unmapped on drop.
///
/// Invariant: `start` points to `bytes` readable and writable bytes that nothing else owns.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone; who makes references into it keeps their rules.
unsafe impl Send for Pages {}
// SAFETY: as above; the value itself only tells its address.
unsafe impl Sync for Pages {}

impl Pages {
    /// At least `bytes` zero bytes, on huge pages if asked for and the host has them.
    ///
    /// # Errors
    /// When the kernel does not give that much address space.
    pub fn new(bytes: usize, huge: bool) -> io::Result<Self> {
        let bytes = bytes.max(1);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) }?;
        if huge {
            // Only advice: without huge pages the memory is slower and otherwise the same.
            // SAFETY: the range is the mapping just made.
            let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the invariant; who hands out the raw pointer to others does not call this.
        unsafe { std::slice::from_raw_parts(self.start(), self.bytes) }
    }

    /// All of it, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.bytes) }
    }

    /// Its first byte.
    pub const fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of that length; references into it do not outlive `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
