//! The memory of the table: huge pages where the host has them, zero at start.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;

use super::line::Line;

/// Lines in memory of their own, fixed in number.
#[derive(Debug)]
pub(crate) struct LineMemory {
    #[cfg(not(loom))]
    pages: crate::memory::Pages,
    #[cfg(loom)]
    pages: Box<[Line]>,
    len: usize,
}

impl LineMemory {
    /// `len` empty lines.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        #[cfg(not(loom))]
        let pages = {
            let bytes = len.checked_mul(size_of::<Line>()).ok_or(io::ErrorKind::OutOfMemory)?;
            crate::memory::Pages::new(bytes, true)?
        };
        #[cfg(loom)]
        let pages = (0..len).map(|_| Line::default()).collect();
        Ok(Self { pages, len })
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
        // SAFETY: the pages hold `len` lines, are aligned to more than a line, live as long as `self`,
        // and are only ever read through shared atomics, of which zero bytes are valid values.
        unsafe { std::slice::from_raw_parts(self.pages.start().cast(), self.len) }
    }

    #[cfg(loom)]
    fn deref(&self) -> &[Line] {
        &self.pages
    }
}
