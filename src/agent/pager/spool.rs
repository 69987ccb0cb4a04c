//! Events that wait for PagerDuty to be reachable: a few small files, oldest first.
//!
//! They are on disk so that a page outlives a restart. The routing key is not among them.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::events::Event;
use crate::files;

/// More than a night of incidents.
const MAX_EVENTS: usize = 256;
/// PagerDuty takes 512 KB.
const MAX_EVENT_BYTES: u64 = 512 << 10;
const SUFFIX: &str = ".event";

/// A directory of waiting events.
///
/// One that cannot be used now is tried again with each event and each look: it is no reason not to serve.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    /// Whether what waits in it from before is known.
    is_read: bool,
    /// Numbers of the files, oldest first.
    waiting: Vec<u64>,
    next: u64,
}

/// Why an event cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory cannot be used.
    #[error(
        "cannot use the spool {path}: {cause}. Pages that PagerDuty does not take at once are lost until \
         this is mended: check free space and who may write there"
    )]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Too many wait already.
    #[error(
        "{MAX_EVENTS} pages wait in {path} already. PagerDuty has not been reachable for long: call the \
         person on call by telephone, and see why it cannot be reached"
    )]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// The event is larger than PagerDuty takes.
    #[error("the event is larger than PagerDuty takes (512 KB). Give it fewer details")]
    TooLarge,
}

impl Spool {
    /// The spool in `directory`, which is made when it is not there. One that cannot be used now says so when it
    /// is used.
    #[must_use]
    pub fn open(directory: impl Into<PathBuf>) -> Self {
        let mut spool = Self { directory: directory.into(), is_read: false, waiting: Vec::new(), next: 0 };
        let _ = spool.look();
        spool
    }

    /// Makes the directory and reads what waits in it, unless that was done.
    pub(super) fn look(&mut self) -> Result<(), SpoolError> {
        if self.is_read {
            return Ok(());
        }
        fs::create_dir_all(&self.directory).map_err(|cause| disk(&self.directory, cause))?;
        let mut waiting = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(|cause| disk(&self.directory, cause))? {
            let name = entry.map_err(|cause| disk(&self.directory, cause))?.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|text| text.parse().ok());
            waiting.extend(number);
        }
        waiting.sort_unstable();
        self.next = waiting.last().map_or(0, |last| last.saturating_add(1));
        self.waiting = waiting;
        self.is_read = true;
        Ok(())
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps `event` behind those that wait. It is on disk when this returns.
    pub fn push(&mut self, event: &Event) -> Result<(), SpoolError> {
        self.look()?;
        if self.waiting.len() >= MAX_EVENTS {
            return Err(SpoolError::Full { path: self.directory.clone() });
        }
        let bytes = serde_json::to_vec(event).map_err(|_| SpoolError::TooLarge)?;
        if bytes.len() as u64 > MAX_EVENT_BYTES {
            return Err(SpoolError::TooLarge);
        }
        let path = self.path(self.next);
        // A crash leaves a temporary file, which is no event.
        files::replace(&path, 0o666, &bytes).map_err(|cause| disk(&path, cause))?;
        self.waiting.push(self.next);
        self.next += 1;
        Ok(())
    }

    /// The event that waits longest. A file that is no event is put aside, so that it does not hold up the others,
    /// and named in `put_aside`; one that cannot be opened now is still a page, and is tried again.
    pub(super) fn first(&mut self, put_aside: &mut Vec<String>) -> Result<Option<Event>, SpoolError> {
        while let Some(number) = self.waiting.first().copied() {
            let path = self.path(number);
            match read(&path) {
                Ok(Some(event)) => return Ok(Some(event)),
                Ok(None) => {
                    let aside = path.with_extension("unreadable");
                    fs::rename(&path, &aside).map_err(|cause| disk(&path, cause))?;
                    put_aside
                        .push(format!("what waited in {} is no event, and is not sent", aside.display()));
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                    put_aside.push(format!("{} was taken away, and is not sent", path.display()));
                }
                Err(cause) => return Err(disk(&path, cause)),
            }
            self.waiting.remove(0);
        }
        Ok(None)
    }

    /// Drops the event that waits longest.
    pub(super) fn pop(&mut self) -> Result<(), SpoolError> {
        let Some(number) = self.waiting.first().copied() else { return Ok(()) };
        let path = self.path(number);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(disk(&path, cause)),
            _ => {
                self.waiting.remove(0);
                Ok(())
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}{SUFFIX}"))
    }
}

/// The event in a file; `None` when it is none.
fn read(path: &Path) -> io::Result<Option<Event>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_EVENT_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).ok())
}

fn disk(path: &Path, cause: io::Error) -> SpoolError {
    SpoolError::Disk { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::super::events::EventAction;
    use super::*;

    fn event(key: &str) -> Event {
        Event { dedup_key: key.to_owned(), action: EventAction::Resolve, at_ms: 0 }
    }

    #[test]
    fn events_leave_in_the_order_in_which_they_came_even_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path().join("deep/er"));
        for key in ["a", "b"] {
            spool.push(&event(key)).unwrap();
        }
        let mut spool = Spool::open(directory.path().join("deep/er"));
        spool.push(&event("c")).unwrap();
        let mut seen = Vec::new();
        while let Some(event) = spool.first(&mut Vec::new()).unwrap() {
            seen.push(event.dedup_key);
            spool.pop().unwrap();
        }
        assert_eq!(seen, ["a", "b", "c"]);
        assert_eq!(fs::read_dir(directory.path().join("deep/er")).unwrap().count(), 0);
    }

    #[test]
    fn a_torn_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("000000000001.event"), b"{\"dedup").unwrap();
        fs::write(directory.path().join("000000000002.new"), b"half").unwrap();
        let mut spool = Spool::open(directory.path());
        spool.push(&event("good")).unwrap();
        let mut put_aside = Vec::new();
        assert_eq!(spool.first(&mut put_aside).unwrap(), Some(event("good")));
        assert!(directory.path().join("000000000001.unreadable").exists());
        assert!(put_aside.len() == 1 && put_aside[0].contains("000000000001"), "{put_aside:?}");
    }

    #[test]
    fn a_page_that_cannot_be_opened_for_a_moment_is_sent_later() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path());
        spool.push(&event("a")).unwrap();
        // A directory in its place can be opened, and not read: an error that is none of the event.
        let (path, hidden) = (spool.path(0), directory.path().join("hidden"));
        fs::rename(&path, &hidden).unwrap();
        fs::create_dir(&path).unwrap();
        let mut put_aside = Vec::new();
        assert!(matches!(spool.first(&mut put_aside), Err(SpoolError::Disk { .. })));
        assert!(put_aside.is_empty() && spool.len() == 1);
        fs::remove_dir(&path).unwrap();
        fs::rename(&hidden, &path).unwrap();
        assert_eq!(spool.first(&mut put_aside).unwrap(), Some(event("a")));
        fs::remove_file(&path).unwrap();
        assert_eq!(spool.first(&mut put_aside).unwrap(), None);
        assert!(put_aside[0].contains("taken away"), "{put_aside:?}");
    }

    #[test]
    fn a_full_spool_a_large_event_and_a_bad_directory_say_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(directory.path());
        spool.look().unwrap();
        let large = event(&"x".repeat(1 << 20));
        assert!(matches!(spool.push(&large), Err(SpoolError::TooLarge)));
        for _ in 0..MAX_EVENTS {
            spool.waiting.push(spool.next);
        }
        assert!(spool.push(&event("a")).unwrap_err().to_string().contains("telephone"));
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_tried_again_and_what_waits_in_it_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let (state, aside) = (root.path().join("state"), root.path().join("aside"));
        Spool::open(state.join("pages")).push(&event("old")).unwrap();
        fs::rename(&state, &aside).unwrap();
        fs::write(&state, b"a file in its place").unwrap();
        let mut spool = Spool::open(state.join("pages"));
        assert!(spool.look().unwrap_err().to_string().contains("who may write"));
        assert!(matches!(spool.push(&event("lost")), Err(SpoolError::Disk { .. })) && spool.is_empty());
        fs::remove_file(&state).unwrap();
        fs::rename(&aside, &state).unwrap();
        spool.push(&event("new")).unwrap();
        assert_eq!(spool.len(), 2);
        assert_eq!(spool.first(&mut Vec::new()).unwrap(), Some(event("old")));
    }
}
