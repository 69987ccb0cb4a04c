//! Files that are replaced whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

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

/// Makes a file of what `write` writes, and makes that durable. What is half written does not stay.
///
/// # Errors
/// When the disk does not take it.
pub(crate) fn write_durably<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let make = || {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
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

/// Renames a file over another of its directory (rename(2) is atomic), and makes that durable.
///
/// # Errors
/// When the kernel refuses it, or it is done and not known to be durable.
pub(crate) fn put_in_place(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
