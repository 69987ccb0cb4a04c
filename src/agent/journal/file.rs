//! Appends to a journal: one writer, every line durable before it counts.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{JournalError, ReadError};
use super::format::{Chain, Line, Logged, MAX_LINE_BYTES};
use super::head;
use super::names::{self, Numbered};
use super::needed::Needed;
use super::reader::{Place, Reader, Tail};
use crate::agent::types::{Entry, IncidentId, UnixMs};
use crate::{files, hex};

const TORN_PREFIX: &str = "torn-";
/// Pieces that are kept aside; each takes a crash in the middle of a write.
const MAX_TORN: usize = 64;
/// A line that says what is dropped is at most this long.
const MAX_DROPPED_BYTES: u64 = 512;
/// A lock that another process has is waited for so long.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// How large a journal may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A file is not made longer than this, unless it has one line only.
    pub max_file_bytes: u64,
    /// Older files are dropped, but never one that a restart needs: of the open incident, or of a write of
    /// the last day.
    pub max_files: usize,
}

impl Default for Options {
    /// Eight files of 16 MiB: some 300,000 lines.
    fn default() -> Self {
        Self { max_file_bytes: 16 << 20, max_files: 8 }
    }
}

/// A line that a crash tore: it was never durable, so nothing was done after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The file that it was cut off from.
    pub path: PathBuf,
    /// How many bytes there were of it.
    pub bytes: usize,
    /// Where they are kept; `None` while the disk does not take them.
    pub kept_in: Option<PathBuf>,
}

/// The journal as its one writer has it.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    options: Options,
    /// Holds the lock as long as it is open.
    _lock: File,
    files: VecDeque<Numbered>,
    /// The newest file, when it is open for writing.
    current: Option<Current>,
    chain: Chain,
    mend: Mend,
    torn: Option<TornTail>,
    needed: Needed,
    /// Up to which line the journal says that its lines are dropped.
    dropped_through: u64,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines.
    length: u64,
    /// Whether the directory is known to have the name.
    is_named: bool,
}

/// What stands after the last whole line and must go before the next one.
#[derive(Debug)]
enum Mend {
    Nothing,
    /// Part of a line that the disk did not take.
    Truncate,
    /// A line that an earlier process did not finish.
    SetAside(Vec<u8>),
}

impl Journal {
    /// Locks the directory, makes it if need be, and checks all that is there.
    ///
    /// # Errors
    /// When another process has it, it is broken, or it cannot be read.
    pub fn open(directory: &Path, options: Options) -> Result<Self, JournalError> {
        let lock = lock(directory)?;
        let mut reader = Reader::open(directory).map_err(|error| refused(directory, error))?;
        let mut needed = Needed::default();
        for item in reader.by_ref() {
            let (_, line) = item.map_err(|error| refused(directory, error))?;
            needed.see(&line);
        }
        let files = names::list(directory).map_err(|source| disk("list", directory, source))?.into();
        let (chain, tail, end) = (reader.chain_end(), reader.take_tail(), reader.end());
        let mut journal = Self {
            directory: directory.to_owned(),
            options,
            _lock: lock,
            files,
            current: None,
            chain,
            mend: Mend::Nothing,
            torn: None,
            needed,
            dropped_through: reader.dropped_through(),
        };
        journal.take_up(end, tail)?;
        Ok(journal)
    }

    /// Writes one entry and returns its number once it is on the disk.
    ///
    /// # Errors
    /// When it is not on the disk. Nothing of it stays, and the next append tries anew.
    pub fn append(
        &mut self,
        at: UnixMs,
        incident: Option<&IncidentId>,
        entry: &Entry,
    ) -> Result<u64, JournalError> {
        let sequence = self.append_line(at, incident, entry)?;
        self.carry_on(at);
        self.drop_old_files(at);
        Ok(sequence)
    }

    fn append_line(
        &mut self,
        at: UnixMs,
        incident: Option<&IncidentId>,
        entry: &Entry,
    ) -> Result<u64, JournalError> {
        let encoded = self.chain.encode(at, incident, entry);
        let (bytes, chain) = encoded.map_err(|_| JournalError::TooLong)?;
        self.mend()?;
        if let Err(error) = self.write(&bytes) {
            self.mend = Mend::Truncate;
            // Room for others, and a clean end for readers; if it fails, the next append does it.
            let _ = self.mend();
            return Err(error);
        }
        self.chain = chain;
        head::write(&self.directory, chain);
        let logged = Logged::Known(entry.clone());
        self.needed.see(&Line { sequence: chain.sequence, at, incident: incident.cloned(), logged });
        Ok(chain.sequence)
    }

    /// Says once more in a new file what holds, a freeze above all: older files are dropped some day. What
    /// cannot be written now is tried again after the next line, and until then no file of it is dropped.
    fn carry_on(&mut self, at: UnixMs) {
        let Some(newest) = self.files.back().map(|file| file.number) else { return };
        for entry in self.needed.standing_before(newest) {
            if self.append_line(at, None, &entry).is_err() {
                return;
            }
        }
    }

    /// All lines that are kept, oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read; a line that cannot be is an error in its place.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Line, ReadError>> + use<>, ReadError> {
        let reader = Reader::open(&self.directory)?;
        Ok(reader.map(|item: Result<(Place, Line), ReadError>| item.map(|(_, line)| line)))
    }

    /// The lines of one incident, oldest first.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn entries_of(
        &self,
        incident: &IncidentId,
    ) -> Result<impl Iterator<Item = Result<Line, ReadError>> + use<>, ReadError> {
        let wanted = Some(incident.clone());
        Ok(self.entries()?.filter(move |item| item.as_ref().map_or(true, |line| line.incident == wanted)))
    }

    /// The torn line that was found at the start, to be told to people.
    #[must_use]
    pub const fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Where the journal is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens the newest file for writing. A disk that does not allow it now is tried again when it is needed.
    fn take_up(&mut self, end: Option<(Numbered, u64)>, tail: Option<Tail>) -> Result<(), JournalError> {
        let Some((newest, length)) = end else { return Ok(()) };
        let opened = OpenOptions::new().write(true).open(&newest.path);
        let file = opened.map_err(|source| disk("open", &newest.path, source))?;
        self.current = Some(Current { path: newest.path, file, length, is_named: false });
        if let Some(Tail { path, bytes }) = tail {
            self.torn = Some(TornTail { path, bytes: bytes.len(), kept_in: None });
            self.mend = Mend::SetAside(bytes);
            let _ = self.mend();
        }
        Ok(())
    }

    /// Leaves whole lines only.
    fn mend(&mut self) -> Result<(), JournalError> {
        if let Mend::SetAside(bytes) = &self.mend {
            let kept_in = self.keep_aside(bytes)?;
            if let Some(torn) = &mut self.torn {
                torn.kept_in = Some(kept_in);
            }
            self.mend = Mend::Truncate;
        }
        if let (Mend::Truncate, Some(current)) = (&self.mend, &self.current) {
            let truncated = current.file.set_len(current.length).and_then(|()| current.file.sync_all());
            truncated.map_err(|source| disk("cut the unfinished line off", &current.path, source))?;
        }
        self.mend = Mend::Nothing;
        Ok(())
    }

    fn keep_aside(&self, bytes: &[u8]) -> Result<PathBuf, JournalError> {
        let name = |number: usize| format!("{TORN_PREFIX}{:020}-{number:02}", self.chain.sequence + 1);
        let aside = |number: usize| self.directory.join(name(number));
        let path = (0..MAX_TORN).map(aside).find(|path| !path.exists()).unwrap_or_else(|| aside(0));
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&path);
            disk("keep the torn line in", &path, source)
        })?;
        drop_old_pieces(&self.directory);
        Ok(path)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let length = bytes.len() as u64;
        let has_room =
            |current: &Current| current.length == 0 || current.length + length <= self.options.max_file_bytes;
        if !self.current.as_ref().is_some_and(has_room) {
            let (numbered, current) = begin_file(&self.directory, self.chain.sequence + 1)?;
            self.files.push_back(numbered);
            self.current = Some(current);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        let written = is_there(&current.file)
            .and_then(|()| current.file.write_all_at(bytes, current.length))
            .and_then(|()| current.file.sync_data());
        written.map_err(|source| disk("write to", &current.path, source))?;
        if !current.is_named {
            let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
            synced.map_err(|source| disk("make durable the names in", &self.directory, source))?;
            current.is_named = true;
        }
        current.length += length;
        Ok(())
    }

    /// What goes is said first, in the chain: lines that are missing without such a word were taken away. A file that
    /// cannot be removed is tried again after the next line.
    fn drop_old_files(&mut self, at: UnixMs) {
        let Some(through) = self.last_to_drop() else { return };
        if self.dropped_through < through.sequence {
            let entry = Entry::Dropped { through: through.sequence, hash: hex::encode(&through.hash.0) };
            if self.append_line(at, None, &entry).is_err() {
                return;
            }
            self.dropped_through = through.sequence;
        }
        while self.files.get(1).is_some_and(|next| next.number <= through.sequence + 1)
            && self.files.front().is_some_and(|oldest| fs::remove_file(&oldest.path).is_ok())
        {
            self.files.pop_front();
        }
    }

    /// The last line of the files that are more than may be kept and that nobody needs.
    fn last_to_drop(&self) -> Option<Chain> {
        let needed = self.needed.from().unwrap_or(u64::MAX);
        let has_room = |current: &Current| current.length + MAX_DROPPED_BYTES <= self.options.max_file_bytes;
        let new_file = usize::from(!self.current.as_ref().is_some_and(has_room));
        let spare = (self.files.len() + new_file).checked_sub(self.options.max_files.max(1))?;
        let kept = self.files.iter().skip(1).take(spare).take_while(|next| next.number <= needed).last()?;
        first_line(&kept.path).and_then(|line| Chain::before(&line).ok())
    }
}

/// The first line of a file, when it has one.
fn first_line(path: &Path) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let file = File::open(path).ok()?.take(MAX_LINE_BYTES as u64);
    BufReader::new(file).read_until(b'\n', &mut line).ok()?;
    Some(line)
}

const _: () = assert!(MAX_LINE_BYTES < 16 << 20, "a line fits a file");

/// Makes the directory and locks it.
fn lock(directory: &Path) -> Result<File, JournalError> {
    fs::create_dir_all(directory).map_err(|source| disk("make the directory", directory, source))?;
    let file = File::open(directory).map_err(|source| disk("open", directory, source))?;
    match files::lock(&file, LOCK_PATIENCE) {
        Ok(true) => Ok(file),
        Ok(false) => Err(JournalError::Locked { directory: directory.to_owned() }),
        Err(errno) => Err(disk("lock", directory, errno.into())),
    }
}

fn begin_file(directory: &Path, number: u64) -> Result<(Numbered, Current), JournalError> {
    let numbered = Numbered::new(directory, number);
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&numbered.path);
    let file = opened.map_err(|source| disk("make", &numbered.path, source))?;
    let current = Current { path: numbered.path.clone(), file, length: 0, is_named: false };
    Ok((numbered, current))
}

/// What goes into a file that has no name any more is gone after a restart.
fn is_there(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() > 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "it was removed while in use: restart the server to begin another",
    ))
}

fn drop_old_pieces(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let is_piece = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TORN_PREFIX))
    };
    let mut pieces: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_piece).collect();
    pieces.sort();
    for piece in pieces.iter().take(pieces.len().saturating_sub(MAX_TORN)) {
        let _ = fs::remove_file(piece);
    }
}

fn refused(directory: &Path, error: ReadError) -> JournalError {
    match error {
        ReadError::Broken(broken) => JournalError::Broken { directory: directory.to_owned(), broken },
        error @ ReadError::Unreadable { .. } => JournalError::Unreadable(error),
    }
}

fn disk(what: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Disk { what, path: path.to_owned(), source }
}
