//! Files that are replaced whole, and read without waiting for anybody.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Between two looks whether a lock is free.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Writes beside the file, makes that durable, renames it over the file, and makes the rename durable. `mode`
/// is for the new file, less the process's umask.
///
/// # Errors
/// When the disk does not take it; the file is as it was, or already replaced and only that not durable.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(".new");
    let temporary = path.with_file_name(name);
    let written = write_durably(&temporary, mode, |out| out.write_all(bytes));
    written.and_then(|()| put_in_place(&temporary, path)).inspect_err(|_| {
        // It only takes room from the next try.
        let _ = fs::remove_file(&temporary);
    })
}

/// Opens a file to read it, when it is a regular one: a pipe would be waited for, a device need not end, and a
/// link may lead anywhere.
///
/// # Errors
/// When the kernel refuses it, or it is something else.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_to_read(path, libc::O_NOFOLLOW)
}

/// As [`open_regular`], and follows links, as those by which Kubernetes mounts tokens.
///
/// # Errors
/// When the kernel refuses it, or it is something else.
pub(crate) fn open_regular_or_link(path: &Path) -> io::Result<File> {
    open_to_read(path, 0)
}

/// Whether users that are neither the owner of a file of this mode nor in its group may open it.
pub(crate) const fn is_open_to_others(mode: u32) -> bool {
    mode & 0o007 != 0
}

fn open_to_read(path: &Path, flags: i32) -> io::Result<File> {
    let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | flags).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        // What it says of links and of sockets.
        Some(libc::ELOOP | libc::ENXIO) => irregular(),
        _ => error,
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(irregular()) }
}

/// Makes a file of what `write` writes, and makes that durable. What is half written does not stay, and what was
/// there is removed first: a crash may have left it, and it may be a pipe or a link.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn write_durably<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    remove_if_there(path)?;
    let make = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        let value = write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(value)
    };
    make().inspect_err(|_| {
        // It only takes room from the next try.
        let _ = fs::remove_file(path);
    })
}

/// Locks a directory, or a file, for as long as it is open here; whether it could be had. A process that is ending may
/// have it, or have left it for a moment to one that it was starting, and is waited for, up to `patience`.
///
/// A directory needs no file for it, so a full disk does not stop it.
///
/// # Errors
/// When it cannot be locked at all.
pub(crate) fn lock(file: &File, patience: Duration) -> Result<bool, Errno> {
    let until = Instant::now() + patience;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            locked => return locked.map(|()| true),
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Renames a file over another of its directory (rename(2) is atomic), and makes that durable.
///
/// # Errors
/// When the kernel refuses it, or it is done and not known to be durable.
pub(crate) fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::channel;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn make_pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    }

    /// What is waited for would hang the test.
    fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(what()));
        receiver.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn only_a_regular_file_is_opened_and_none_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "x").unwrap();
        fs::create_dir(path("directory")).unwrap();
        symlink(path("file"), path("link")).unwrap();
        make_pipe(&path("pipe"));
        let _listener = UnixListener::bind(path("socket")).unwrap();
        assert!(open_regular(&path("file")).is_ok());
        assert_eq!(open_regular(&path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        for name in ["directory", "link", "pipe", "socket"] {
            let path = path(name);
            let error = in_time(move || open_regular(&path)).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{name}");
        }
    }

    #[test]
    fn what_is_in_the_way_of_a_new_file_is_removed_and_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("file"), directory.path().join("other"));
        let temporary = directory.path().join("file.new");
        for spoil in [make_pipe, |path: &Path| symlink(path.with_file_name("other"), path).unwrap()] {
            fs::write(&other, "not ours").unwrap();
            spoil(&temporary);
            let to = path.clone();
            in_time(move || replace(&to, 0o600, b"ours")).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"ours");
            assert_eq!(fs::read(&other).unwrap(), b"not ours");
            assert!(!temporary.exists());
        }
    }
}
