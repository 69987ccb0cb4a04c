//! One process at a time has a state directory: two would replace each other's files.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use tracing::warn;

use super::DirectoryError;
use crate::files;

/// Holds the directory as long as it is open.
#[derive(Debug)]
pub(super) struct Lock {
    directory: File,
}

impl Lock {
    /// Takes the directory itself, as the agent takes that of its journal: that needs no file, so neither a full
    /// nor a read-only disk stops it. A process that is ending is waited for, up to `patience`.
    pub(super) fn take(path: &Path, patience: Duration) -> Result<Self, DirectoryError> {
        let io = |what, source| DirectoryError::Io { what, path: path.to_owned(), source };
        let directory = File::open(path).map_err(|source| io("open the directory", source))?;
        match files::lock(&directory, patience) {
            Ok(true) => {}
            Ok(false) => return Err(DirectoryError::Held(path.to_owned())),
            Err(errno) if has_no_locks(errno) => {
                warn!("{} is not guarded against a second server: {errno}", path.display());
            }
            Err(errno) => return Err(io("lock the directory", errno.into())),
        }
        Ok(Self { directory })
    }

    /// Whether the directory that it holds is the one at `path`.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        match (self.directory.metadata(), fs::metadata(path)) {
            (Ok(held), Ok(found)) => identity(held) == identity(found),
            _ => false,
        }
    }
}

/// What file systems answer that cannot lock a directory, NFS among them; they keep files all the same.
fn has_no_locks(errno: Errno) -> bool {
    [Errno::BADF, Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP].contains(&errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_had_by_one_and_by_the_next_when_that_ends() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path(), Duration::ZERO).unwrap();
        let refused = Lock::take(directory.path(), Duration::from_millis(50)).unwrap_err();
        assert!(matches!(&refused, DirectoryError::Held(path) if path == directory.path()), "{refused}");
        drop(first);
        Lock::take(directory.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn one_that_is_ending_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path(), Duration::ZERO).unwrap();
        let ending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(first);
        });
        Lock::take(directory.path(), Duration::from_secs(10)).unwrap();
        ending.join().unwrap();
    }

    #[test]
    fn a_file_system_without_locks_is_no_reason_to_go_without_the_directory() {
        assert!(has_no_locks(Errno::BADF) && !has_no_locks(Errno::WOULDBLOCK) && !has_no_locks(Errno::IO));
    }
}
