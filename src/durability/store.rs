//! The state directory over a run: used from the start, or from when it can be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Directory, DirectoryError};

#[derive(Clone, Copy, Debug)]
struct Key {
    bytes: [u8; 16],
    is_stored: bool,
}

/// A state directory, and what has to get there before a snapshot is of use.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    directory: Option<Directory>,
    /// The key that names buckets: without it the next start could read no snapshot.
    key: Option<Key>,
    is_held_by_another: bool,
}

impl Store {
    /// Of the directory `path`, which is not opened yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), directory: None, key: None, is_held_by_another: false }
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

    /// Lets go of a directory that is no longer at its path; whether it was so. Another one has nothing of what was
    /// stored in it.
    pub fn leave_if_replaced(&mut self) -> bool {
        let is_replaced = self.directory.as_ref().is_some_and(|directory| !directory.is_in_place());
        if is_replaced {
            self.directory = None;
            self.key = self.key.map(|key| Key { is_stored: false, ..key });
        }
        is_replaced
    }

    /// Has this key stored by the next [`Self::store_key`]; when it was found in the directory, only once another
    /// takes its place.
    pub const fn use_key(&mut self, bytes: [u8; 16], is_stored: bool) {
        self.key = Some(Key { bytes, is_stored });
    }

    /// Stores the key that is not stored yet, if the directory is open.
    ///
    /// # Errors
    /// When the disk does not take it; it can be tried again.
    pub fn store_key(&mut self) -> Result<(), DirectoryError> {
        if let (Some(directory), Some(key)) = (&self.directory, &mut self.key)
            && !key.is_stored
        {
            directory.store_hash_key(key.bytes)?;
            key.is_stored = true;
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
        store.use_key([7; 16], false);
        assert!(store.open(Duration::ZERO).is_err() && store.directory().is_none());
        assert!(!store.is_held_by_another());
        store.store_key().unwrap();
        fs::remove_file(&path).unwrap();
        store.open(Duration::ZERO).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), Some([7; 16]));
    }

    #[test]
    fn a_directory_that_was_moved_away_is_left_and_another_gets_the_key() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, aside) = (temporary.path().join("state"), temporary.path().join("aside"));
        let mut store = Store::new(&path);
        store.use_key([7; 16], false);
        store.open(Duration::ZERO).unwrap();
        store.store_key().unwrap();
        assert!(!store.leave_if_replaced());
        fs::rename(&path, &aside).unwrap();
        assert!(store.leave_if_replaced() && store.directory().is_none() && !store.leave_if_replaced());
        assert!(Directory::open(&aside, Duration::ZERO).is_ok(), "nobody has it");
        store.open(Duration::ZERO).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), Some([7; 16]));
    }

    #[test]
    fn a_key_that_somebody_removed_to_have_another_is_not_put_back() {
        let temporary = tempfile::tempdir().unwrap();
        let mut store = Store::new(temporary.path());
        store.use_key([7; 16], true);
        store.open(Duration::ZERO).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), None);
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
        store.use_key([7; 16], false);
        store.open(Duration::ZERO).unwrap();
        assert!(store.store_key().is_err() && store.store_key().is_err());
        fs::remove_dir(in_the_way).unwrap();
        store.store_key().unwrap();
        assert_eq!(store.directory().unwrap().hash_key().unwrap(), Some([7; 16]));
    }
}
