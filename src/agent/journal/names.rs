//! The files of a journal, oldest first: `journal-000001.jsonl` begins with line number 1, and so on, so
//! that a file shows by its name when its first lines are missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl";
const DIGITS: usize = 6;

/// One file of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// That of its first line.
    pub(super) number: u64,
    pub(super) path: PathBuf,
}

impl Numbered {
    pub(super) fn new(directory: &Path, number: u64) -> Self {
        Self { number, path: directory.join(format!("{PREFIX}{number:0DIGITS$}{SUFFIX}")) }
    }
}

/// All files of the journal in `directory`, oldest first; none when it is not there.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Numbered>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(number_of) {
            files.push(Numbered { number, path: entry.path() });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let is_number = digits.len() >= DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_journal_are_listed_by_number() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["journal-000010.jsonl", "journal-000009.jsonl", "journal-1000000.jsonl", "head"] {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        for name in ["journal-1.jsonl", "journal-+00001.jsonl", "journal-000001.jsonl.bak", "torn-000001-7"] {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        let numbers: Vec<_> = list(directory.path()).unwrap().iter().map(|file| file.number).collect();
        assert_eq!(numbers, [9, 10, 1_000_000]);
        assert_eq!(list(Path::new("/nonexistent")).unwrap(), []);
        let path = directory.path();
        assert_eq!(list(path).unwrap()[0], Numbered::new(path, 9));
    }
}
