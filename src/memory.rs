//! Memory from the kernel: page-aligned, zero at first, never moved; anonymous, or of a file without a
//! name that can outlive the process.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::thread;

use rustix::fs::{
    FileType, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create,
};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// Threads that fault pages in at the same time, and the least for each: the thread that faults a page in zeroes it.
const MAX_POPULATORS: usize = 8;
const POPULATOR_BYTES: usize = 64 << 20;
/// Enough for one system call.
const POPULATOR_STACK_BYTES: usize = 64 << 10;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A mapping, unmapped on drop.
///
/// Invariant: `start` points to `bytes` readable and writable bytes, which are mapped for as long as this lives.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it only tells its address; code that makes references into it keeps the rules of what holds it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Safety
    /// There is a mapping of `bytes` readable and writable bytes at `start`, which is this value's from now on.
    unsafe fn of(start: *mut c_void, bytes: usize) -> io::Result<Self> {
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// Asks for huge pages: without them the memory is slower and otherwise the same.
    fn advise_huge(&self) {
        // SAFETY: the invariant; no byte changes.
        let _ = unsafe { madvise(self.start.as_ptr().cast(), self.bytes, Advice::LinuxHugepage) };
    }

    fn populate(&self) -> io::Result<()> {
        self.populate_by_threads(POPULATOR_STACK_BYTES)
    }

    fn populate_by_threads(&self, stack_bytes: usize) -> io::Result<()> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let populators = self.bytes.div_ceil(POPULATOR_BYTES).clamp(1, cores.min(MAX_POPULATORS));
        let part = self.bytes.div_ceil(populators).next_multiple_of(HUGE_PAGE_BYTES);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for at in (0..self.bytes).step_by(part) {
                let populator = thread::Builder::new().stack_size(stack_bytes);
                match populator.spawn_scoped(scope, move || self.populate_part(at, part)) {
                    Ok(thread) => threads.push(thread),
                    // Where a limit allows no more threads, this one does it.
                    Err(_) => self.populate_part(at, part)?,
                }
            }
            let ended = || io::Error::other("a thread ended that takes memory");
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| ended())?)
        })
    }

    /// The same of at most `most` bytes from `at` on, which is in the mapping and the start of a page.
    fn populate_part(&self, at: usize, most: usize) -> io::Result<()> {
        let bytes = most.min(self.bytes - at);
        // SAFETY: the invariant; the bytes are those that a first use would find.
        Ok(unsafe { madvise(self.start.as_ptr().add(at).cast(), bytes, Advice::LinuxPopulateWrite) }?)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the invariant; references into it do not outlive what holds this.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A private mapping: nothing else owns its bytes.
#[derive(Debug)]
pub struct Pages(Mapping);

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
        // SAFETY: the mapping just made.
        let mapping = unsafe { Mapping::of(start, bytes) }?;
        if huge {
            mapping.advise_huge();
        }
        Ok(Self(mapping))
    }

    /// Has the kernel give all of it now, so that no first use waits for a page.
    ///
    /// # Errors
    /// When it has not so much, or is older than Linux 5.14.
    pub fn populate(&self) -> io::Result<()> {
        self.0.populate()
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the invariant; who hands out the raw pointer to others does not call this.
        unsafe { std::slice::from_raw_parts(self.start(), self.0.bytes) }
    }

    /// All of it, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.0.bytes) }
    }

    /// Its first byte.
    pub const fn start(&self) -> *mut u8 {
        self.0.start.as_ptr()
    }
}

/// A shared mapping of a file in memory, which can neither grow nor shrink.
///
/// Others may map the same bytes, so no references into them are made but to atomics.
#[derive(Debug)]
pub struct SharedPages(Mapping);

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
        // SAFETY: the mapping just made.
        let mapping = unsafe { Mapping::of(start, bytes) }?;
        // Which takes /sys/kernel/mm/transparent_hugepage/shmem_enabled at "advise".
        mapping.advise_huge();
        Ok(Self(mapping))
    }

    /// Has the kernel give all of it now, so that no first use waits for a page.
    ///
    /// # Errors
    /// When it has not so much, or is older than Linux 5.14.
    pub fn populate(&self) -> io::Result<()> {
        self.0.populate()
    }

    /// How many there are.
    pub const fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The first byte.
    pub const fn start(&self) -> *mut u8 {
        self.0.start.as_ptr()
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
    fn memory_that_was_populated_is_resident_and_as_it_was() {
        let bytes = 3 * HUGE_PAGE_BYTES + 4096;
        let mut pages = Pages::new(bytes, true).unwrap();
        pages.bytes_mut()[4096] = 7;
        pages.populate().unwrap();
        assert_eq!(resident_pages(&pages.0), bytes / 4096);
        assert_eq!((pages.bytes()[4096], pages.bytes()[bytes - 1]), (7, 0));
        let (shared, _file) = SharedPages::create("test", bytes).unwrap();
        assert_eq!(resident_pages(&shared.0), 0);
        shared.populate().unwrap();
        assert_eq!(resident_pages(&shared.0), bytes / 4096);
    }

    #[test]
    fn memory_is_populated_also_where_no_thread_can_be_had() {
        let pages = Pages::new(HUGE_PAGE_BYTES, false).unwrap();
        let no_stack_is_so_large = 1 << 60;
        pages.0.populate_by_threads(no_stack_is_so_large).unwrap();
        assert_eq!(resident_pages(&pages.0), HUGE_PAGE_BYTES / 4096);
    }

    fn resident_pages(mapping: &Mapping) -> usize {
        let mut seen = vec![0_u8; mapping.bytes.div_ceil(4096)];
        // SAFETY: the invariant, and a byte for each page.
        let outcome =
            unsafe { libc::mincore(mapping.start.as_ptr().cast(), mapping.bytes, seen.as_mut_ptr()) };
        assert_eq!(outcome, 0);
        seen.iter().filter(|page| **page & 1 == 1).count()
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
