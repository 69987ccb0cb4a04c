//! The bytes of a snapshot.
//!
//! `magic (8) | version (4) | frames | 0 (4) | SHA-256 of all before (32)`, where a frame is its length
//! (4, little-endian) and an rkyv archive: one [`Header`], then lists of [`Record`]s. The digest is
//! checked over the whole file before the first record is believed, so a torn or altered snapshot
//! restores nothing, rather than a part.

use std::io::{self, Read, Seek, SeekFrom, Write};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rkyv::rancor::Error as ArchiveError;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"OCRSNAP\n";
/// The version that this program writes and reads.
pub const VERSION: u32 = 2;
/// Records of one frame.
const FRAME_RECORDS: usize = 4096;
/// Larger than any frame of this version.
const MAX_FRAME_BYTES: u32 = 1 << 20;
const PREFIX_BYTES: usize = MAGIC.len() + 4;

/// Whose snapshot, and when it was taken.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A print of the key that names buckets: under another key none of them would be found.
    pub key_print: [u8; 16],
    /// The boot of the host.
    pub boot_id: [u8; 16],
    /// Nanoseconds since that boot.
    pub since_boot_ns: u64,
    /// Wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// A bucket that is not full.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The policy: a hash of its name.
    pub policy: u64,
    /// The bucket's identity, low half first.
    pub id: [u64; 2],
    /// What has been used and has not drained, in 1/65536 of a token.
    pub level: u64,
}

/// Why a snapshot is not restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Something else is in the file.
    #[error("it is no snapshot of openclaw-rating")]
    NotASnapshot,
    /// Written by another version of the program.
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// Cut off, or altered.
    #[error("it is torn or was altered: its checksum is wrong")]
    Checksum,
    /// The checksum is right, and the content is not.
    #[error("its content is malformed at byte {0}")]
    Malformed(u64),
    /// Made under another key.
    #[error("it was made under another cluster secret or hash key")]
    Foreign,
}

/// Passes on what is written, and its digest.
struct Digesting<W> {
    inner: W,
    digest: Context,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a snapshot, in frames of bounded size.
pub struct SnapshotWriter<W> {
    out: Digesting<W>,
    frame: Vec<Record>,
    records: u64,
}

impl<W> std::fmt::Debug for SnapshotWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter").field("records", &self.records).finish_non_exhaustive()
    }
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// As `out`.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut out = Digesting { inner: out, digest: Context::new(&SHA256) };
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        write_frame(&mut out, &rkyv::to_bytes::<ArchiveError>(header).map_err(io::Error::other)?)?;
        Ok(Self { out, frame: Vec::with_capacity(FRAME_RECORDS), records: 0 })
    }

    /// Adds a bucket.
    ///
    /// # Errors
    /// As `out`.
    pub fn push(&mut self, record: Record) -> io::Result<()> {
        self.frame.push(record);
        self.records += 1;
        if self.frame.len() == FRAME_RECORDS { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        write_frame(&mut self.out, &rkyv::to_bytes::<ArchiveError>(&self.frame).map_err(io::Error::other)?)?;
        self.frame.clear();
        Ok(())
    }

    /// Ends with the digest; how many buckets there are.
    ///
    /// # Errors
    /// As `out`.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        if !self.frame.is_empty() {
            self.end_frame()?;
        }
        self.out.write_all(&0_u32.to_le_bytes())?;
        let Digesting { mut inner, digest } = self.out;
        inner.write_all(digest.finish().as_ref())?;
        inner.flush()?;
        Ok((inner, self.records))
    }
}

fn write_frame(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads a snapshot that was made under the key with `key_print`, and calls `each` with every record.
///
/// Nothing is called before the whole file was checked. Memory is bounded, whatever the file says.
///
/// # Errors
/// When it is not such a snapshot, or not whole.
pub fn read(
    mut file: impl Read + Seek,
    key_print: [u8; 16],
    mut each: impl FnMut(&Header, Record),
) -> Result<(Header, u64), SnapshotError> {
    let content_end = check(&mut file)?;
    file.seek(SeekFrom::Start(PREFIX_BYTES as u64))?;
    let mut frames = Frames { file, at: PREFIX_BYTES as u64, end: content_end, bytes: AlignedVec::new() };
    let malformed = SnapshotError::Malformed(PREFIX_BYTES as u64);
    let Some(header) = frames.next::<Header>()? else { return Err(malformed) };
    if header.key_print != key_print {
        return Err(SnapshotError::Foreign);
    }
    let mut records = 0;
    while let Some(frame) = frames.next::<Vec<Record>>()? {
        records += frame.len() as u64;
        frame.into_iter().for_each(|record| each(&header, record));
    }
    Ok((header, records))
}

/// Checks magic, version and digest; where the frames end.
fn check(file: &mut (impl Read + Seek)) -> Result<u64, SnapshotError> {
    let bytes = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut prefix = [0; PREFIX_BYTES];
    let has = read_up_to(file, &mut prefix)?;
    if has < MAGIC.len() || prefix[..MAGIC.len()] != MAGIC {
        return Err(SnapshotError::NotASnapshot);
    }
    let smallest = (PREFIX_BYTES + 4 + SHA256_OUTPUT_LEN) as u64;
    if has < PREFIX_BYTES || bytes < smallest {
        return Err(SnapshotError::Checksum);
    }
    let version = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let content_end = bytes - SHA256_OUTPUT_LEN as u64;
    let mut digest = Context::new(&SHA256);
    digest.update(&prefix);
    digest_frames(file, &mut digest, content_end - PREFIX_BYTES as u64)?;
    let mut said = [0; SHA256_OUTPUT_LEN];
    file.read_exact(&mut said)?;
    if digest.finish().as_ref() == said { Ok(content_end) } else { Err(SnapshotError::Checksum) }
}

/// Adds the frames to the digest, which end `left` bytes from here. A file that goes on behind the last frame is told
/// there: it may be of any size.
fn digest_frames(file: &mut impl Read, digest: &mut Context, mut left: u64) -> Result<(), SnapshotError> {
    let mut frame = Vec::new();
    loop {
        let mut length = [0; 4];
        left = left.checked_sub(4).ok_or(SnapshotError::Checksum)?;
        file.read_exact(&mut length)?;
        digest.update(&length);
        let length = u32::from_le_bytes(length);
        if length == 0 {
            return if left == 0 { Ok(()) } else { Err(SnapshotError::Checksum) };
        }
        left = left.checked_sub(u64::from(length)).ok_or(SnapshotError::Checksum)?;
        if length > MAX_FRAME_BYTES {
            return Err(SnapshotError::Checksum);
        }
        frame.resize(length as usize, 0);
        file.read_exact(&mut frame)?;
        digest.update(&frame);
    }
}

fn read_up_to(file: &mut impl Read, mut buffer: &mut [u8]) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => buffer = &mut buffer[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

struct Frames<R> {
    file: R,
    at: u64,
    end: u64,
    bytes: AlignedVec,
}

impl<R: Read> Frames<R> {
    /// The next frame; none after the last.
    fn next<T>(&mut self) -> Result<Option<T>, SnapshotError>
    where
        T: Archive,
        T::Archived: for<'a> rkyv::bytecheck::CheckBytes<rkyv::api::high::HighValidator<'a, ArchiveError>>
            + Deserialize<T, rkyv::api::high::HighDeserializer<ArchiveError>>,
    {
        let malformed = SnapshotError::Malformed(self.at);
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        self.at += 4;
        if length == 0 {
            return if self.at == self.end { Ok(None) } else { Err(malformed) };
        }
        if length > MAX_FRAME_BYTES || self.at + u64::from(length) > self.end {
            return Err(malformed);
        }
        self.bytes.resize(length as usize, 0);
        self.file.read_exact(&mut self.bytes)?;
        self.at += u64::from(length);
        rkyv::from_bytes::<T, ArchiveError>(&self.bytes).map(Some).map_err(|_| malformed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const HEADER: Header = Header { key_print: [1; 16], boot_id: [2; 16], since_boot_ns: 3, unix_ms: 4 };

    fn record(n: u64) -> Record {
        Record { policy: n % 7, id: [n, !n], level: n << 16 }
    }

    fn snapshot(records: u64) -> Vec<u8> {
        let mut writer = SnapshotWriter::new(Vec::new(), &HEADER).unwrap();
        (0..records).for_each(|n| writer.push(record(n)).unwrap());
        let (bytes, written) = writer.finish().unwrap();
        assert_eq!(written, records);
        bytes
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<Record>, SnapshotError> {
        let mut records = Vec::new();
        let result = read(Cursor::new(bytes), HEADER.key_print, |_, record| records.push(record));
        if result.is_err() {
            assert!(records.is_empty(), "records of a refused snapshot were believed");
        }
        result.map(|(header, count)| {
            assert_eq!((header, count), (HEADER, records.len() as u64));
            records
        })
    }

    #[test]
    fn what_was_written_is_read_whatever_the_number_of_frames() {
        for records in [0, 1, 4095, 4096, 4097, 10_000] {
            let read = read_all(&snapshot(records)).unwrap();
            assert!(read.into_iter().eq((0..records).map(record)));
        }
    }

    #[test]
    fn a_snapshot_cut_at_any_byte_restores_nothing() {
        let whole = snapshot(5);
        for cut in 0..whole.len() {
            assert!(read_all(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let longer = [whole.as_slice(), b"x"].concat();
        assert!(matches!(read_all(&longer), Err(SnapshotError::Checksum)));
    }

    /// Counts what is read of it.
    struct Counting<R> {
        inner: R,
        bytes: usize,
    }

    impl<R: Read> Read for Counting<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.inner.read(buffer).inspect(|bytes| self.bytes += bytes)
        }
    }

    impl<R: Seek> Seek for Counting<R> {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.inner.seek(to)
        }
    }

    #[test]
    fn a_snapshot_with_anything_behind_its_end_is_refused_without_reading_that() {
        let mut bytes = snapshot(5);
        let whole = bytes.len();
        bytes.resize(whole + (1 << 20), 0);
        let mut file = Counting { inner: Cursor::new(bytes), bytes: 0 };
        let refused = read(&mut file, HEADER.key_print, |_, _| panic!("it is altered"));
        assert!(matches!(refused, Err(SnapshotError::Checksum)));
        assert!(file.bytes <= whole, "{} bytes were read", file.bytes);
    }

    #[test]
    fn another_version_another_key_and_another_file_are_told_apart() {
        let mut other = snapshot(1);
        other[8] = 9;
        assert!(matches!(read_all(&other), Err(SnapshotError::Version(9))));
        assert!(matches!(read_all(b"#!/bin/sh"), Err(SnapshotError::NotASnapshot)));
        assert!(matches!(read_all(b""), Err(SnapshotError::NotASnapshot)));
        let foreign = read(Cursor::new(snapshot(1)), [9; 16], |_, _| panic!("it is foreign"));
        assert!(matches!(foreign, Err(SnapshotError::Foreign)));
    }

    #[test]
    fn a_right_checksum_over_nonsense_is_not_believed() {
        for frames in [&[][..], &[255, 255, 255, 255], &[4, 0, 0, 0, 1, 2, 3, 4], &[1, 0, 0, 0]] {
            let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes(), frames, &[0; 4]].concat();
            let digest = ring::digest::digest(&SHA256, &bytes);
            bytes.extend_from_slice(digest.as_ref());
            assert!(read_all(&bytes).is_err(), "{frames:?}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_anywhere_is_found(at in 0_usize..200, bit in 0_u8..8) {
            let mut bytes = snapshot(3);
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(read_all(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_all(&bytes);
            let prefixed = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            let _ = read_all(&prefixed);
        }
    }
}
