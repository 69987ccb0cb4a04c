//! Memory from the kernel: page-aligned, zero at first, never moved; anonymous, or of a file without a
//! name that can outlive the process.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{
    FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

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

/// A shared mapping of a file in memory, which can neither grow nor shrink; unmapped on drop.
///
/// Invariant: `start` points to `bytes` readable and writable bytes for as long as this lives. Others may
/// map the same bytes, so no references into them are made but to atomics.
#[derive(Debug)]
pub struct SharedPages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the value only tells its address; who makes references into the mapping keeps the rule above.
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// `bytes` zero bytes, and the file that keeps them when this process is gone.
    ///
    /// # Errors
    /// When the kernel has no such files, or not that much memory.
    pub fn create(name: &str, bytes: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Linux 6.3 wants to be told that nothing in it is a program; older ones do not know the flag.
        let file =
            memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| memfd_create(name, flags))?;
        ftruncate(&file, bytes as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let pages = Self::map(file.as_fd(), bytes)?;
        Ok((pages, file))
    }

    /// The bytes of such a file.
    ///
    /// # Errors
    /// When it is none: to read beyond the end of one that shrank would end the process.
    pub fn open(file: BorrowedFd<'_>) -> io::Result<Self> {
        let found = fstat(file)?;
        let fixed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !fixed || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no memory of fixed size"));
        }
        Self::map(file, usize::try_from(found.st_size).map_err(io::Error::other)?)
    }

    fn map(file: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; what it shares with other mappings of
        // the file is reached through atomics only.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, file, 0) }?;
        // Only advice, which takes /sys/kernel/mm/transparent_hugepage/shmem_enabled at "advise".
        // SAFETY: the range is the mapping just made.
        let _ = unsafe { madvise(start, bytes, Advice::LinuxHugepage) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// How many there are.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first byte.
    pub const fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, of that length; references into it do not outlive `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_memory_is_the_same_bytes_for_all_who_map_it_and_outlives_the_first_of_them() {
        let (first, file) = SharedPages::create("test", 8192).unwrap();
        // SAFETY: inside of the mapping, which nobody else uses at this moment.
        unsafe { first.start().add(5000).write(7) };
        drop(first);
        let second = SharedPages::open(file.as_fd()).unwrap();
        assert_eq!(second.bytes(), 8192);
        // SAFETY: as above.
        assert_eq!(unsafe { second.start().add(5000).read() }, 7);
    }

    #[test]
    fn files_that_can_shrink_and_what_is_no_file_are_not_mapped() {
        let file = tempfile::tempfile().unwrap();
        assert!(SharedPages::open(file.as_fd()).is_err());
        assert!(SharedPages::open(std::net::TcpListener::bind("127.0.0.1:0").unwrap().as_fd()).is_err());
        let (_pages, sealed) = SharedPages::create("test", 4096).unwrap();
        assert!(ftruncate(&sealed, 0).is_err() && ftruncate(&sealed, 1 << 20).is_err());
    }
}
