//! Reads and checks a journal, locked or not, whole or broken.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::error::{Broken, Fault, ReadError};
use super::format::{Chain, Line, MAX_LINE_BYTES};
use super::head;
use super::names::{self, Numbered};
use crate::agent::types::Entry;
use crate::hex;

/// Where a line stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line in it, from 1.
    pub line: u64,
}

/// What stands after the last line end of the last file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// All lines, oldest first, each checked against the one before.
///
/// A broken line is an error, and reading goes on after it with the next sound one, so that what is left
/// of a damaged journal can be seen; who acts stops at the first error. A line that is unfinished at the
/// very end is no error: it is being written, or a crash tore it.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    files: VecDeque<Numbered>,
    current: Option<Current>,
    /// `None` at the start, and after a line that cannot be followed.
    chain: Option<Chain>,
    head: Option<Chain>,
    /// What the first line follows: nothing, or lines that were dropped.
    origin: Option<Chain>,
    /// The last line that was dropped, by the newest line that says so.
    dropped: Option<(u64, String)>,
    /// Whether a file went while this was reading.
    is_overtaken: bool,
    /// A sound line that does not follow: given after the error.
    aside: Option<(Place, Line)>,
    is_broken: bool,
    is_over: bool,
    tail: Option<Tail>,
    /// The last file and how many bytes of it are whole lines.
    end: Option<(Numbered, u64)>,
}

#[derive(Debug)]
struct Current {
    file: Numbered,
    reader: BufReader<File>,
    lines: u64,
    sound_bytes: u64,
}

/// One step through the bytes.
enum Piece {
    Line(Vec<u8>),
    /// The last line, with zeros in it: how some file systems show a write that a crash cut short.
    Hole(Vec<u8>),
    TooLong,
    Unfinished(Vec<u8>),
    End,
}

impl Reader {
    /// Lists the files; no file is no error.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(directory: &Path) -> Result<Self, ReadError> {
        let unreadable = |source| ReadError::Unreadable { path: directory.to_owned(), source };
        // Before the files: lines that are appended meanwhile are then no contradiction.
        let head = head::read(directory).map_err(unreadable)?;
        let files = names::list(directory).map_err(unreadable)?.into();
        let directory = directory.to_owned();
        Ok(Self {
            directory,
            files,
            current: None,
            chain: None,
            head,
            origin: None,
            dropped: None,
            is_overtaken: false,
            aside: None,
            is_broken: false,
            is_over: false,
            tail: None,
            end: None,
        })
    }

    /// Whether there is no journal at all; one whose files are gone has a `head` still.
    #[must_use]
    pub fn finds_nothing(&self) -> bool {
        self.files.is_empty() && self.head.is_none()
    }

    /// Where the chain stands after what was read.
    pub(super) fn chain_end(&self) -> Chain {
        self.chain.unwrap_or(Chain::START)
    }

    /// Up to which line the journal says that it has dropped its lines.
    pub(super) fn dropped_through(&self) -> u64 {
        self.dropped.as_ref().map_or(0, |(through, _)| *through)
    }

    pub(super) fn take_tail(&mut self) -> Option<Tail> {
        self.tail.take()
    }

    pub(super) fn end(&self) -> Option<(Numbered, u64)> {
        self.end.clone()
    }

    fn step(&mut self) -> Result<Option<(Place, Line)>, ReadError> {
        loop {
            if let Some(aside) = self.aside.take() {
                return Ok(Some(aside));
            }
            let Some(current) = &mut self.current else {
                if !self.open_next()? {
                    self.is_over = true;
                    return self.check_beginning().and_then(|()| self.compare_with_head()).map(|()| None);
                }
                continue;
            };
            let path = current.file.path.clone();
            match current.next_piece().map_err(|source| ReadError::Unreadable { path, source })? {
                Piece::Hole(bytes) if self.files.is_empty() => self.keep_tail(bytes),
                Piece::Line(bytes) | Piece::Hole(bytes) => return self.line(&bytes).map(Some),
                Piece::TooLong => return Err(self.fault(Fault::TooLong)),
                Piece::Unfinished(bytes) if self.files.is_empty() => self.keep_tail(bytes),
                Piece::Unfinished(_) => {
                    current.lines += 1;
                    return Err(self.fault(Fault::Unfinished));
                }
                Piece::End => self.close()?,
            }
        }
    }

    /// A file that is gone before the first line is read was dropped by a rotation meanwhile.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        while let Some(file) = self.files.pop_front() {
            match File::open(&file.path) {
                Ok(opened) => {
                    let reader = BufReader::new(opened);
                    self.current = Some(Current { file, reader, lines: 0, sound_bytes: 0 });
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.end.is_none() => {
                    self.is_overtaken = true;
                }
                Err(source) => return Err(ReadError::Unreadable { path: file.path, source }),
            }
        }
        Ok(false)
    }

    fn close(&mut self) -> Result<(), ReadError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let expected = self.chain_end().sequence + 1;
        let (number, is_empty) = (current.file.number, current.lines == 0);
        self.end = Some((current.file, current.sound_bytes));
        // The next line would go there.
        if is_empty && number != expected && !self.is_broken {
            return Err(self.fault(Fault::Sequence { expected, found: number }));
        }
        Ok(())
    }

    fn keep_tail(&mut self, bytes: Vec<u8>) {
        if let Some(current) = &mut self.current {
            self.tail = Some(Tail { path: current.file.path.clone(), bytes });
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(Place, Line), ReadError> {
        let Some(current) = &mut self.current else { return Err(self.fault(Fault::NotALine)) };
        current.lines += 1;
        let (number, is_first) = (current.file.number, current.lines == 1);
        let follows = match self.chain {
            Some(chain) => chain.follow(bytes),
            None => Chain::begin(bytes),
        };
        let follows = follows.and_then(|(line, chain)| match self.head {
            _ if is_first && line.sequence != number => {
                Err(Fault::Sequence { expected: number, found: line.sequence })
            }
            Some(head) if head.sequence == chain.sequence && head != chain => Err(Fault::NotTheHead),
            _ => Ok((line, chain)),
        });
        let place = Place { path: current.file.path.clone(), line: current.lines };
        match follows {
            Ok((line, chain)) => {
                current.sound_bytes += bytes.len() as u64;
                self.chain = Some(chain);
                if self.origin.is_none() {
                    self.origin = Chain::before(bytes).ok();
                }
                if let Some(Entry::Dropped { through, hash }) = line.logged.known() {
                    self.dropped = Some((*through, hash.clone()));
                }
                Ok((place, line))
            }
            Err(fault) => {
                let sound = Chain::begin(bytes).ok();
                self.chain = sound.as_ref().map(|(_, chain)| *chain);
                self.aside = sound.map(|(line, _)| (place.clone(), line));
                self.is_broken = true;
                Err(Broken { path: place.path, line: place.line, fault }.into())
            }
        }
    }

    fn fault(&mut self, fault: Fault) -> ReadError {
        self.is_broken = true;
        self.chain = None;
        let place = self.current.as_ref().map(|current| (current.file.path.clone(), current.lines.max(1)));
        let (path, line) = place
            .or_else(|| self.end.as_ref().map(|(file, _)| (file.path.clone(), 1)))
            .unwrap_or_else(|| (self.directory.clone(), 0));
        Broken { path, line, fault }.into()
    }

    /// Lines that are missing at the beginning were dropped by a rotation, which says so first, or taken away. What
    /// a rotation said of files that it was about to drop holds for those that are there still.
    fn check_beginning(&self) -> Result<(), ReadError> {
        let Some(origin) = self.origin.filter(|origin| *origin != Chain::START) else { return Ok(()) };
        let is_said = self.dropped.as_ref().is_some_and(|(through, hash)| {
            origin.sequence < *through || origin.sequence == *through && *hash == hex::encode(&origin.hash.0)
        });
        if is_said || self.is_overtaken || self.is_broken {
            return Ok(());
        }
        let first = origin.sequence + 1;
        let path = Numbered::new(&self.directory, first).path;
        Err(Broken { path, line: 1, fault: Fault::Beheaded { first } }.into())
    }

    /// A line that was durable and is not there any more was taken away.
    fn compare_with_head(&self) -> Result<(), ReadError> {
        match self.head {
            Some(head) if head.sequence > self.chain_end().sequence && !self.is_broken => {
                let path = self.end.as_ref().map_or(&self.directory, |(file, _)| &file.path).clone();
                let first = self.end.as_ref().map_or(1, |(file, _)| file.number);
                let line = (self.chain_end().sequence + 1).saturating_sub(first);
                Err(Broken { path, line, fault: Fault::CutShort { durable: head.sequence } }.into())
            }
            _ => Ok(()),
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(Place, Line), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.step();
        // A disk that does not read would not the next time.
        self.is_over |= matches!(item, Err(ReadError::Unreadable { .. }));
        item.transpose()
    }
}

impl Current {
    fn next_piece(&mut self) -> io::Result<Piece> {
        let mut bytes = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        (&mut self.reader).take(limit).read_until(b'\n', &mut bytes)?;
        if bytes.len() > MAX_LINE_BYTES {
            self.lines += 1;
            self.skip_line(bytes.ends_with(b"\n"))?;
            return Ok(Piece::TooLong);
        }
        Ok(match bytes.last() {
            None => Piece::End,
            Some(b'\n') if bytes.contains(&0) && self.reader.fill_buf()?.is_empty() => Piece::Hole(bytes),
            Some(b'\n') => Piece::Line(bytes),
            Some(_) => Piece::Unfinished(bytes),
        })
    }

    fn skip_line(&mut self, is_over: bool) -> io::Result<()> {
        let mut is_over = is_over;
        while !is_over {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let skipped = end.map_or(buffer.len(), |end| end + 1);
            is_over = end.is_some() || skipped == 0;
            self.reader.consume(skipped);
        }
        Ok(())
    }
}

/// What a check of a whole journal found.
#[derive(Debug)]
pub struct Checked {
    /// Files that were read.
    pub files: usize,
    /// Lines that are sound, up to the first fault.
    pub lines: u64,
    /// The number of the first of them; 0 where there is none.
    pub first: u64,
    /// Whether `head` is there, so that lines missing at the end would show.
    pub has_head: bool,
    /// A line at the very end that is unfinished: its file and bytes.
    pub unfinished: Option<(PathBuf, usize)>,
    /// The first fault.
    pub fault: Option<ReadError>,
}

/// Checks all of the journal in `directory`, up to its first fault.
///
/// # Errors
/// When the directory cannot be read.
pub fn check(directory: &Path) -> Result<Checked, ReadError> {
    let mut reader = Reader::open(directory)?;
    let (files, has_head) = (reader.files.len(), reader.head.is_some());
    let (mut lines, mut first, mut fault) = (0, 0, None);
    for item in reader.by_ref() {
        match item {
            Ok((_, line)) => {
                lines += 1;
                if first == 0 {
                    first = line.sequence;
                }
            }
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
    }
    let unfinished = reader.take_tail().map(|tail| (tail.path, tail.bytes.len()));
    Ok(Checked { files, lines, first, has_head, unfinished, fault })
}
