//! The state directory: files that are replaced whole.

use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use super::Epoch;
use super::lock::Lock;
use crate::files;
use crate::hex;

const EPOCH: &str = "epoch";
const HASH_KEY: &str = "hash.key";
/// What was in its place and is not used.
const BAD_HASH_KEY: &str = "hash.key.bad";
const SNAPSHOT: &str = "buckets.snapshot";
/// Of the small files here none is larger.
const MAX_SMALL_BYTES: u64 = 4096;

/// Why the state directory does not serve.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file of it cannot be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file of it holds something else.
    #[error("{0} does not hold what this program writes there; move it away, or restore it")]
    Malformed(PathBuf),
    /// No epoch is above the one that a file of it promises.
    #[error(
        "{path} says that epochs up to {promised_ms} were used, which is beyond all there are; it is not \
         believed"
    )]
    NoEpochAbove {
        /// The file.
        path: PathBuf,
        /// What is in it.
        promised_ms: u64,
    },
    /// Another process has it.
    #[error(
        "the state directory {0} is in use by another process: a second server with the same one, or one \
         that is still stopping. Only one server may write there: stop the other, or give this one its own"
    )]
    Held(PathBuf),
}

/// A directory of this server's own, as long as this is there.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: Lock,
}

impl Directory {
    /// Makes it if it is not there, and takes it; who still has it is waited for, up to `patience`.
    ///
    /// # Errors
    /// When it can be neither found nor made, or another process has it.
    pub fn open(path: &Path, patience: Duration) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(|source| DirectoryError::Io {
            what: "make the directory",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { path: path.to_owned(), lock: Lock::take(path, patience)? })
    }

    /// Whether it is still at its path. It is not when it was removed or moved, or something was mounted over it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.lock.is_of(&self.path)
    }

    /// Where the snapshot is.
    #[must_use]
    pub fn snapshot_path(&self) -> PathBuf {
        self.path.join(SNAPSHOT)
    }

    /// The snapshot, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be opened.
    pub fn snapshot(&self) -> Result<Option<File>, DirectoryError> {
        match files::open_regular(&self.snapshot_path()) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error("open", SNAPSHOT, source)),
        }
    }

    /// Replaces the snapshot by what `write` writes.
    ///
    /// # Errors
    /// When the disk does not take it; the old one is there then.
    pub fn replace_snapshot<T>(
        &self,
        write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<T>,
    ) -> Result<T, DirectoryError> {
        self.replace(SNAPSHOT, write)
    }

    /// The stored promise about epochs.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn epoch(&self) -> Result<Option<u64>, DirectoryError> {
        let Some(text) = self.small(EPOCH)? else { return Ok(None) };
        let path = || self.path.join(EPOCH);
        let promised_ms = text.trim().parse().map_err(|_| DirectoryError::Malformed(path()))?;
        if !Epoch::can_follow(promised_ms) {
            return Err(DirectoryError::NoEpochAbove { path: path(), promised_ms });
        }
        Ok(Some(promised_ms))
    }

    /// Stores it.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn replace_epoch(&self, promised_ms: u64) -> Result<(), DirectoryError> {
        self.replace(EPOCH, |out| writeln!(out, "{promised_ms}"))
    }

    /// The key that names buckets, if one is stored.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn hash_key(&self) -> Result<Option<[u8; 16]>, DirectoryError> {
        let Some(text) = self.small(HASH_KEY)? else { return Ok(None) };
        let key = hex::decode(text.trim());
        key.map(Some).ok_or_else(|| DirectoryError::Malformed(self.path.join(HASH_KEY)))
    }

    /// Stores it. Whatever else is in its place is moved aside: the next start must find the key of the buckets
    /// that are written from now on, and somebody may still restore the other.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn store_hash_key(&self, key: [u8; 16]) -> Result<(), DirectoryError> {
        match self.hash_key() {
            Ok(Some(stored)) if stored == key => return Ok(()),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.set_aside(HASH_KEY, BAD_HASH_KEY)?,
        }
        self.replace(HASH_KEY, |out| writeln!(out, "{}", hex::encode(&key)))
    }

    fn set_aside(&self, name: &'static str, aside: &'static str) -> Result<(), DirectoryError> {
        let (from, to) = (self.path.join(name), self.path.join(aside));
        files::put_in_place(&from, &to).map_err(|source| self.error("move aside", name, source))?;
        warn!("{} is not used: it was moved to {}, and another key is stored", from.display(), to.display());
        Ok(())
    }

    fn small(&self, name: &str) -> Result<Option<String>, DirectoryError> {
        let mut text = String::new();
        let read = files::open_regular(&self.path.join(name))
            .and_then(|file| file.take(MAX_SMALL_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.error("read", name, source)),
        }
    }

    /// Writes beside the file, makes that durable, and renames it over the file (rename(2) is atomic),
    /// then makes the rename durable.
    fn replace<T>(
        &self,
        name: &'static str,
        write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<T>,
    ) -> Result<T, DirectoryError> {
        let beside = format!("{name}.new");
        let temporary = self.path.join(&beside);
        let written = files::write_durably(&temporary, 0o600, write);
        let value = written.map_err(|source| self.error("write", &beside, source))?;
        files::put_in_place(&temporary, &self.path.join(name))
            .map_err(|source| self.error("replace", name, source))?;
        Ok(value)
    }

    fn error(&self, what: &'static str, name: &str, source: io::Error) -> DirectoryError {
        DirectoryError::Io { what, path: self.path.join(name), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(&temporary.path().join("state"), Duration::ZERO).unwrap();
        (temporary, directory)
    }

    #[test]
    fn the_hash_key_is_read_back_and_is_nobody_elses() {
        let (_temporary, directory) = directory();
        assert_eq!(directory.hash_key().unwrap(), None);
        directory.store_hash_key([7; 16]).unwrap();
        directory.store_hash_key([7; 16]).unwrap();
        assert_eq!(directory.hash_key().unwrap(), Some([7; 16]));
        let mode = fs::metadata(directory.path.join(HASH_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!directory.path.join(BAD_HASH_KEY).exists());
    }

    #[test]
    fn what_is_in_place_of_the_hash_key_is_kept_aside() {
        let (_temporary, directory) = directory();
        fs::write(directory.path.join(HASH_KEY), "zz").unwrap();
        directory.store_hash_key([7; 16]).unwrap();
        assert_eq!(directory.hash_key().unwrap(), Some([7; 16]));
        assert_eq!(fs::read(directory.path.join(BAD_HASH_KEY)).unwrap(), b"zz");
    }

    #[test]
    fn files_with_something_else_in_them_are_named() {
        let (_temporary, directory) = directory();
        for name in [EPOCH, HASH_KEY] {
            fs::write(directory.path.join(name), "hello").unwrap();
        }
        let errors = [directory.epoch().unwrap_err(), directory.hash_key().unwrap_err()];
        for (error, name) in errors.iter().zip([EPOCH, HASH_KEY]) {
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn an_epoch_is_read_back_and_none_is_none() {
        let (_temporary, directory) = directory();
        assert_eq!(directory.epoch().unwrap(), None);
        directory.replace_epoch(42).unwrap();
        assert_eq!(directory.epoch().unwrap(), Some(42));
    }

    #[test]
    fn a_promise_that_no_start_can_be_above_is_refused() {
        let (_temporary, directory) = directory();
        for promised_ms in [u64::MAX, (1 << 43) - 1] {
            directory.replace_epoch(promised_ms).unwrap();
            let error = directory.epoch().unwrap_err().to_string();
            assert!(error.contains("epoch says") && error.contains(&promised_ms.to_string()), "{error}");
        }
    }

    #[test]
    fn what_is_in_the_way_of_a_write_is_named() {
        let (_temporary, directory) = directory();
        fs::create_dir(directory.path.join("epoch.new")).unwrap();
        let error = directory.replace_epoch(42).unwrap_err().to_string();
        assert!(error.contains("/epoch.new: "), "{error}");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_no_other() {
        let (_temporary, directory) = directory();
        directory.replace_snapshot(|out| out.write_all(b"old")).unwrap();
        let full = |_: &mut io::BufWriter<File>| -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = directory.replace_snapshot(full).unwrap_err().to_string();
        assert!(error.contains("buckets.snapshot"), "{error}");
        assert_eq!(fs::read(directory.snapshot_path()).unwrap(), b"old");
        assert_eq!(fs::read_dir(&directory.path).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_by_name() {
        let (_temporary, directory) = directory();
        for name in [EPOCH, HASH_KEY, SNAPSHOT] {
            fs::create_dir(directory.path.join(name)).unwrap();
        }
        let errors = [
            directory.epoch().unwrap_err(),
            directory.hash_key().unwrap_err(),
            directory.snapshot().unwrap_err(),
        ];
        for (error, name) in errors.iter().zip([EPOCH, HASH_KEY, SNAPSHOT]) {
            let error = error.to_string();
            assert!(error.contains(name) && error.contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error =
            Directory::open(Path::new("/proc/nowhere/state"), Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("/proc/nowhere/state"), "{error}");
    }
}
