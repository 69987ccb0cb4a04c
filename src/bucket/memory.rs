//! The memory of the table: huge pages where the host has them, zero at start.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;

use super::line::Line;

/// What can lie in memory from the kernel, and in memory that other processes map.
///
/// # Safety
/// Every bit pattern is a value, zero the default one, and it is only ever read and changed through atomics.
pub(crate) unsafe trait Atoms: Default {}

// SAFETY: a line is made of atomics, of which any bytes are valid values.
unsafe impl Atoms for Line {}
// SAFETY: as above.
unsafe impl Atoms for std::sync::atomic::AtomicU64 {}
// SAFETY: as above.
unsafe impl Atoms for std::sync::atomic::AtomicU16 {}

/// Values in memory of their own, fixed in number.
///
/// Invariant: `start` points to `len` values, which live as long as `pages`.
#[derive(Debug)]
pub(crate) struct PageSlice<T: Atoms> {
    #[cfg(not(loom))]
    start: std::ptr::NonNull<T>,
    #[cfg(not(loom))]
    pages: Backing,
    #[cfg(not(loom))]
    len: usize,
    #[cfg(loom)]
    pages: Box<[T]>,
}

/// What holds the values; unmapped on drop.
#[cfg(not(loom))]
#[derive(Debug)]
enum Backing {
    Own(crate::memory::Pages),
    Shared(std::sync::Arc<crate::memory::SharedPages>),
}

// SAFETY: the values are only ever reached through shared atomics.
#[cfg(not(loom))]
unsafe impl<T: Atoms> Send for PageSlice<T> {}
// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl<T: Atoms> Sync for PageSlice<T> {}

impl<T: Atoms> PageSlice<T> {
    /// `len` values of zeros.
    ///
    /// # Errors
    /// When the kernel has not that much address space to give.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        #[cfg(not(loom))]
        {
            let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
            let pages = crate::memory::Pages::new(bytes, true)?;
            let start = std::ptr::NonNull::new(pages.start().cast()).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { start, pages: Backing::Own(pages), len })
        }
        #[cfg(loom)]
        {
            Ok(Self { pages: (0..len).map(|_| T::default()).collect() })
        }
    }

    /// The `len` values that begin `at` bytes into `pages`.
    #[cfg(not(loom))]
    pub(super) fn within(pages: &std::sync::Arc<crate::memory::SharedPages>, at: usize, len: usize) -> Self {
        let room = pages.bytes().checked_sub(at);
        let fits = len.checked_mul(size_of::<T>()).zip(room).is_some_and(|(bytes, room)| bytes <= room);
        assert!(fits && at.is_multiple_of(align_of::<T>()), "values outside of their memory");
        // SAFETY: `at` is not past the end of the mapping, which begins at no null pointer.
        let start = unsafe { std::ptr::NonNull::new_unchecked(pages.start().add(at).cast()) };
        Self { start, pages: Backing::Shared(std::sync::Arc::clone(pages)), len }
    }

    /// The model has no memory that is shared with other processes.
    #[cfg(loom)]
    pub(super) fn within(_: &std::sync::Arc<crate::memory::SharedPages>, _: usize, len: usize) -> Self {
        Self { pages: (0..len).map(|_| T::default()).collect() }
    }

    /// Has the kernel give all of the memory now.
    ///
    /// # Errors
    /// When it has not so much.
    pub(super) fn populate(&self) -> io::Result<()> {
        #[cfg(not(loom))]
        match &self.pages {
            Backing::Own(pages) => pages.populate()?,
            Backing::Shared(pages) => pages.populate()?,
        }
        Ok(())
    }

    /// Asks the cache for a value.
    #[inline]
    pub(crate) fn prefetch(&self, index: usize) {
        prefetch(self, index);
    }

    /// Asks the cache for a value that is read once: others keep their places in the larger caches.
    #[inline]
    pub(crate) fn prefetch_once(&self, index: usize) {
        ask_cache::<true, T>(self, index);
    }
}

/// Asks the cache for one of `values`.
#[inline]
pub(crate) fn prefetch<T>(values: &[T], index: usize) {
    ask_cache::<false, T>(values, index);
}

#[inline]
fn ask_cache<const ONCE: bool, T>(values: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults nowhere, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _mm_prefetch};
        let at = values.as_ptr().wrapping_add(index).cast();
        if ONCE { _mm_prefetch::<_MM_HINT_NTA>(at) } else { _mm_prefetch::<_MM_HINT_T0>(at) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, index);
}

impl<T: Atoms> Deref for PageSlice<T> {
    type Target = [T];

    #[cfg(not(loom))]
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the invariant; the values are aligned, and any bytes are such values.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[cfg(loom)]
    fn deref(&self) -> &[T] {
        &self.pages
    }
}
