//! The memory of the table: anonymous pages, huge where the host has them, zero at start.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;

use super::line::Line;

/// Lines in memory of their own, fixed in number.
///
/// Invariant: `start` points to `len` initialised lines that live as long as this value.
#[derive(Debug)]
pub(crate) struct LineMemory {
    start: *const Line,
    len: usize,
}

// SAFETY: lines are made of atomics only, and the memory is owned and never moved.
unsafe impl Send for LineMemory {}
// SAFETY: as above; shared access goes through atomics.
unsafe impl Sync for LineMemory {}

impl LineMemory {
    /// `len` empty lines.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    #[cfg(not(loom))]
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let bytes = len.checked_mul(size_of::<Line>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a new anonymous private mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes.max(1),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        // Only advice: without huge pages the table is slower and otherwise the same.
        // SAFETY: the range is the mapping just made.
        let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
        // Fresh pages are zero, which is the empty line.
        Ok(Self { start: start.cast(), len })
    }

    #[cfg(loom)]
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let lines: Box<[Line]> = (0..len).map(|_| Line::default()).collect();
        Ok(Self { start: Box::into_raw(lines).cast(), len })
    }

    /// Asks the cache for a line.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        debug_assert!(index < self.len);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and faults nowhere; the address is inside the mapping.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.start.wrapping_add(index).cast());
        }
    }
}

impl Deref for LineMemory {
    type Target = [Line];

    #[inline]
    fn deref(&self) -> &[Line] {
        // SAFETY: the invariant of the type; zeroed bytes are valid atomics.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for LineMemory {
    fn drop(&mut self) {
        #[cfg(not(loom))]
        // SAFETY: the mapping made in `new`, of that length; no reference outlives `self`.
        unsafe {
            let bytes = (self.len * size_of::<Line>()).max(1);
            let _ = rustix::mm::munmap(self.start.cast_mut().cast(), bytes);
        }
        #[cfg(loom)]
        // SAFETY: made by `Box::into_raw` in `new` with this length.
        unsafe {
            let lines = std::ptr::slice_from_raw_parts_mut(self.start.cast_mut(), self.len);
            drop(Box::from_raw(lines));
        }
    }
}
