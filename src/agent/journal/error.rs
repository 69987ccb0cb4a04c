//! What can be wrong with a journal, and what the person who reads it does.

use std::io;
use std::path::PathBuf;

/// What is wrong with one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not have the form of a line.
    #[error("it is not a line of a journal")]
    NotALine,
    /// It has no line end.
    #[error("it is unfinished")]
    Unfinished,
    /// Its hash is not that of its content.
    #[error("it was changed after it was written: its hash is not that of its content")]
    Changed,
    /// It does not follow the line before.
    #[error("it does not follow the line before it: lines were taken out, put in, or changed places")]
    NotChained,
    /// It has another number than the next.
    #[error(
        "it is number {found} where {expected} comes next: lines were taken out, put in, or changed places"
    )]
    Sequence {
        /// The next number.
        expected: u64,
        /// Its number.
        found: u64,
    },
    /// It is longer than any line that is written.
    #[error("it is longer than 256 KiB")]
    TooLong,
    /// The file `head` knows of later lines.
    #[error("the journal ends here, but line number {durable} was written: lines were taken from the end")]
    CutShort {
        /// The last line that was written, by `head`.
        durable: u64,
    },
    /// No later line says that the lines before it were dropped.
    #[error(
        "the journal begins here, with number {first}, and no line says that those before it were \
         dropped: they were taken away"
    )]
    Beheaded {
        /// The number of the first line.
        first: u64,
    },
    /// The file `head` knows the last line with another hash.
    #[error("it is not the line that was written last, by the file `head`")]
    NotTheHead,
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}, line {line}: {fault}")]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// Why a journal cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is broken here; what comes after cannot be trusted.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A file cannot be read.
    #[error("cannot read {path}: {source}. Check the path, and that this user may read it")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why nothing is appended. Whoever gets this stops acting and says so.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process appends.
    #[error(
        "the journal in {directory} is in use by another process. Only one server may act from it: stop the \
         other one, or give this one a state directory of its own"
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// It was changed or damaged.
    #[error(
        "{broken}. The agent does not act from a journal that it cannot trust. Read it with `openclaw-rating \
         audit show --dir {directory}`, finish by hand what it was doing, then move that directory aside \
         (`mv {directory} {directory}.broken`) and restart: a new journal begins"
    )]
    Broken {
        /// Where it is.
        directory: PathBuf,
        /// What and where.
        broken: Broken,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(ReadError),
    /// The disk does not take it.
    #[error("cannot {what} {path}: {source}. {}", advice(source))]
    Disk {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The entry is longer than a line may be.
    #[error("an entry is longer than 256 KiB and was not written; the step that it announces is not done")]
    TooLong,
}

impl JournalError {
    /// Whether it may go away without a restart: the next append tries again.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}

fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => {
            "The disk is full: make room. The agent acts again by itself once there is some"
        }
        ReadOnlyFilesystem => {
            "The disk is mounted read-only: look into the kernel's log for why, and mount it for writing"
        }
        PermissionDenied => "Check that the user of this service owns the directory and may write to it",
        FileTooLarge => "The size of files is limited for this service: raise LimitFSIZE in its unit",
        _ => "Look into the kernel's log for trouble with that disk",
    }
}
