//! The memory of the table: huge pages where the host has them, zero at start.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;

use super::line::Line;

/// Lines in memory of their own, fixed in number.
///
/// Invariant: `start` points to `len` lines, which live as long as `pages`.
#[derive(Debug)]
pub(crate) struct LineMemory {
    #[cfg(not(loom))]
    start: std::ptr::NonNull<Line>,
    #[cfg(not(loom))]
    _pages: Backing,
    #[cfg(not(loom))]
    len: usize,
    #[cfg(loom)]
    pages: Box<[Line]>,
}

/// What holds the lines; unmapped on drop.
#[cfg(not(loom))]
#[derive(Debug)]
enum Backing {
    Own(#[allow(dead_code)] crate::memory::Pages),
    Shared(#[allow(dead_code)] std::sync::Arc<crate::memory::SharedPages>),
}

// SAFETY: the lines are only ever reached through shared atomics.
#[cfg(not(loom))]
unsafe impl Send for LineMemory {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl Sync for LineMemory {}

impl LineMemory {
    /// `len` empty lines.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        #[cfg(not(loom))]
        {
            let bytes = len.checked_mul(size_of::<Line>()).ok_or(io::ErrorKind::OutOfMemory)?;
            let pages = crate::memory::Pages::new(bytes, true)?;
            let start = std::ptr::NonNull::new(pages.start().cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { start, _pages: Backing::Own(pages), len })
        }
        #[cfg(loom)]
        {
            Ok(Self { pages: (0..len).map(|_| Line::default()).collect() })
        }
    }

    /// The `len` lines that begin `at` bytes into `pages`.
    #[cfg(not(loom))]
    pub(super) fn within(pages: &std::sync::Arc<crate::memory::SharedPages>, at: usize, len: usize) -> Self {
        let fits = len.checked_mul(size_of::<Line>()).is_some_and(|bytes| bytes <= pages.bytes() - at);
        assert!(fits && at.is_multiple_of(align_of::<Line>()), "lines outside of their memory");
        // SAFETY: `at` is inside of the mapping, which begins at no null pointer.
        let start = unsafe { std::ptr::NonNull::new_unchecked(pages.start().add(at).cast()) };
        Self { start, _pages: Backing::Shared(std::sync::Arc::clone(pages)), len }
    }

    /// The model has no memory that is shared with other processes.
    #[cfg(loom)]
    pub(super) fn within(_: &std::sync::Arc<crate::memory::SharedPages>, _: usize, len: usize) -> Self {
        Self { pages: (0..len).map(|_| Line::default()).collect() }
    }

    /// Asks the cache for a line.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.as_ptr().wrapping_add(index).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = index;
    }
}

impl Deref for LineMemory {
    type Target = [Line];

    #[cfg(not(loom))]
    #[inline]
    fn deref(&self) -> &[Line] {
        // SAFETY: the invariant; the lines are aligned, and are only ever read through shared atomics, of
        // which any bytes are valid values.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[cfg(loom)]
    fn deref(&self) -> &[Line] {
        &self.pages
    }
}
