//! What a start finds in the state directory, and how it goes on without what it does not find.

use std::path::Path;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use tracing::{debug, error};

use super::{Directory, DirectoryError, Epoch, HostTime, Store};

/// A former process of this server may still be ending, where whoever restarts it does not wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a start found.
#[derive(Debug, Default)]
pub struct Found {
    /// The directory, open or to be tried again; `None` when there is to be none.
    pub store: Option<Store>,
    /// The promise about epochs.
    promised_ms: Option<u64>,
    /// The key that names buckets, where the configuration gives none.
    pub hash_key: Option<[u8; 16]>,
    /// Whether something was wrong; it has been logged.
    pub failed: bool,
}

impl Found {
    /// Looks into `path`. `make_key` makes the key that names buckets where one is wanted and there is
    /// none yet.
    ///
    /// Nothing that is wrong here keeps the server from starting: it is logged, and the server does without.
    #[must_use]
    pub fn open(path: &Path, make_key: Option<impl FnOnce() -> [u8; 16]>) -> Self {
        let (mut found, mut store) = (Self::default(), Store::new(path));
        let epoch = store.open(PATIENCE).and_then(Directory::epoch);
        found.promised_ms = found.unless_wrong(epoch).flatten();
        found.hash_key = make_key.map(|make_key| found.key(&mut store, make_key));
        found.store = Some(store);
        found
    }

    fn key(&mut self, store: &mut Store, make_key: impl FnOnce() -> [u8; 16]) -> [u8; 16] {
        let stored =
            store.directory().and_then(|directory| self.unless_wrong(directory.hash_key()).flatten());
        let key = stored.unwrap_or_else(make_key);
        store.use_key(key, stored.is_some());
        let tried = store.store_key();
        self.unless_wrong(tried);
        key
    }

    fn unless_wrong<T>(&mut self, result: Result<T, DirectoryError>) -> Option<T> {
        result
            .inspect_err(|failure| {
                error!("{failure}; the server starts without it, and what it counts may not outlive it");
                self.failed = true;
            })
            .ok()
    }

    /// The directory, if it is open.
    #[must_use]
    pub fn directory(&self) -> Option<&Directory> {
        self.store.as_ref().and_then(Store::directory)
    }

    /// The epoch of this run, with the promise about it stored if that is possible. To be called before the first
    /// count is told to anybody: a start that dies after that must not begin there again.
    #[must_use]
    pub fn begin_epoch(&mut self) -> Epoch {
        let mut epoch = Epoch::start(self.promised_ms, HostTime::read().unix_ms);
        debug!("counts of this run begin at epoch {}", epoch.start_ms());
        let Some(promise) = epoch.renewal(Duration::ZERO) else { return epoch };
        if let Some(stored) = self.directory().map(|directory| directory.replace_epoch(promise))
            && self.unless_wrong(stored).is_some()
        {
            epoch.promised(promise);
        }
        epoch
    }
}

/// Tells one key that names buckets from another, and nothing else about it.
#[must_use]
pub fn key_print(hash_key: &[u8; 16]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    context.update(b"openclaw-rating snapshot");
    context.update(hash_key);
    let mut print = [0; 16];
    print.copy_from_slice(&context.finish().as_ref()[..16]);
    print
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::durability::epoch::EPOCH_LEASE;

    #[test]
    fn a_first_start_makes_a_key_and_the_second_finds_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = Found::open(directory.path(), Some(|| [3; 16]));
        assert!(!first.failed && first.hash_key == Some([3; 16]));
        drop(first);
        let second = Found::open(directory.path(), Some(|| [4; 16]));
        assert!(!second.failed && second.hash_key == Some([3; 16]));
    }

    #[test]
    fn a_start_that_finds_a_broken_key_leaves_one_for_the_next() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("hash.key"), "zz").unwrap();
        let first = Found::open(directory.path(), Some(|| [3; 16]));
        assert!(first.failed && first.hash_key == Some([3; 16]));
        drop(first);
        let second = Found::open(directory.path(), Some(|| [4; 16]));
        assert!(!second.failed && second.hash_key == Some([3; 16]));
    }

    #[test]
    fn a_start_goes_on_without_a_directory_and_with_broken_files() {
        let none = Found::open(Path::new("/proc/nowhere"), Some(|| [3; 16]));
        assert!(none.failed && none.directory().is_none() && none.hash_key == Some([3; 16]));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("epoch"), "yesterday").unwrap();
        let mut broken = Found::open(directory.path(), None::<fn() -> [u8; 16]>);
        assert!(broken.failed && broken.directory().is_some());
        assert!(broken.begin_epoch().start_ms() > 1_600_000_000_000);
    }

    #[test]
    fn a_start_that_dies_before_it_serves_is_not_begun_again_where_it_began() {
        let directory = tempfile::tempdir().unwrap();
        let start = || Found::open(directory.path(), None::<fn() -> [u8; 16]>).begin_epoch().start_ms();
        let (first, second) = (start(), start());
        assert!(second >= first + EPOCH_LEASE.as_millis() as u64, "{first}, then {second}");
    }

    #[test]
    fn a_promise_that_cannot_be_stored_is_told() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("epoch.new")).unwrap();
        let mut found = Found::open(directory.path(), None::<fn() -> [u8; 16]>);
        assert!(!found.failed);
        assert!(found.begin_epoch().renewal(Duration::ZERO).is_some());
        assert!(found.failed);
    }

    #[test]
    fn starts_after_an_impossible_promise_begin_by_the_clock() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("epoch"), u64::MAX.to_string()).unwrap();
        let mut found = Found::open(directory.path(), None::<fn() -> [u8; 16]>);
        assert!(found.failed);
        let now_ms = HostTime::read().unix_ms;
        assert!(found.begin_epoch().start_ms().abs_diff(now_ms) < 60_000);
    }

    #[test]
    fn a_key_print_tells_keys_apart_and_is_not_the_key() {
        assert_eq!(key_print(&[1; 16]), key_print(&[1; 16]));
        assert_ne!(key_print(&[1; 16]), key_print(&[2; 16]));
        assert_ne!(key_print(&[1; 16]), [1; 16]);
    }
}
