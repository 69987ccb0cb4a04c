//! The state directory over a run: used from the start, or from when it can be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Directory, DirectoryError};

/// A state directory, and what has to get there before a snapshot is of use.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: Option<Directory>,
    /// The key that names buckets, until it is there: without it the next start could read no snapshot.
    unstored_key: Option<[u8; 16]>,
    is_held_by_another: bool,
}

impl Store {
    /// Of the directory `path`, which is not opened yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), directory: None, unstored_key: None, is_held_by_another: false }
    }

    /// The directory, once it was opened.
    #[must_use]
    pub const fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// Whether it was not opened because another process has it.
    #[must_use]
    pub const fn is_held_by_another(&self) -> bool {
        self.is_held_by_another
    }

    /// Opens it, if it is not open. Who still has it is waited for, up to `patience`.
    ///
    /// # Errors
    /// When it cannot be opened; it can be tried again.
    pub fn open(&mut self, patience: Duration) -> Result<&Directory, DirectoryError> {
        let directory = match self.directory.take() {
            Some(directory) => directory,
            None => {
                let opened = Directory::open(&self.path, patience);
                self.is_held_by_another = matches!(opened, Err(DirectoryError::Held(_)));
                opened?
            }
        };
        Ok(self.directory.insert(directory))
    }

    /// Has this key stored with the next [`Self::store_key`].
    pub const fn use_key(&mut self, key: [u8; 16]) {
        self.unstored_key = Some(key);
    }

    /// Stores the key that is not stored yet, if the directory is open.
    ///
    /// # Errors
    /// When the disk does not take it; it can be tried again.
    pub fn store_key(&mut self) -> Result<(), DirectoryError> {
        if let (Some(directory), Some(key)) = (&self.directory, self.unstored_key) {
            directory.store_hash_key(key)?;
            self.unstored_key = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_that_was_not_to_be_had_is_had_later_and_gets_the_key() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("state");
        fs::write(&path, "in the way").unwrap();
        let mut store = Store::new(&path);
        store.use_key([7; 16]);
        assert!(store.open(Duration::ZERO).is_err() && store.directory().is_none());
        assert!(!store.is_held_by_another());
        store.store_key().unwrap();
        fs::remove_file(&path).unwrap();
        store.open(Duration::ZERO).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), Some([7; 16]));
    }

    #[test]
    fn who_finds_it_held_knows_and_has_it_when_it_is_free() {
        let temporary = tempfile::tempdir().unwrap();
        let held = Directory::open(temporary.path(), Duration::ZERO).unwrap();
        let mut store = Store::new(temporary.path());
        assert!(store.open(Duration::ZERO).is_err() && store.is_held_by_another());
        drop(held);
        assert!(store.open(Duration::ZERO).is_ok() && !store.is_held_by_another());
    }

    #[test]
    fn a_key_that_the_disk_did_not_take_is_stored_by_a_later_try() {
        let temporary = tempfile::tempdir().unwrap();
        let in_the_way = temporary.path().join("hash.key.new");
        fs::create_dir(&in_the_way).unwrap();
        let mut store = Store::new(temporary.path());
        store.use_key([7; 16]);
        store.open(Duration::ZERO).unwrap();
        assert!(store.store_key().is_err() && store.store_key().is_err());
        fs::remove_dir(in_the_way).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), Some([7; 16]));
    }
}
