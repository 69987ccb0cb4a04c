//! The file `head`: number and hash of the last durable line.
//!
//! It is written after that line is on the disk, in place, and not fsynced: after a crash it may be behind,
//! never ahead. One that cannot be read is as good as none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::format::{Chain, Hash};
use crate::hex;

const NAME: &str = "head";
const NUMBER_DIGITS: usize = 20;
const BYTES: usize = NUMBER_DIGITS + 1 + 64 + 1;

pub(super) fn encode(chain: Chain) -> String {
    format!("{:0NUMBER_DIGITS$} {}\n", chain.sequence, hex::encode(&chain.hash.0))
}

pub(super) fn decode(text: &str) -> Option<Chain> {
    let (number, digits) = text.strip_suffix('\n')?.split_once(' ')?;
    let chain = Chain { sequence: number.parse().ok()?, hash: Hash(hex::decode(digits)?) };
    (encode(chain) == text).then_some(chain)
}

pub(super) fn read(directory: &Path) -> io::Result<Option<Chain>> {
    let file = match File::open(directory.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(decode))
}

/// Its failure is no reason not to act: a head that is behind only tells less.
pub(super) fn write(directory: &Path, chain: Chain) {
    let path = directory.join(NAME);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let _ = file.and_then(|file| {
        file.write_all_at(encode(chain).as_bytes(), 0)?;
        file.set_len(BYTES as u64)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_and_anything_else_is_none() {
        let chain = Chain { sequence: 7, hash: Hash([9; 32]) };
        let text = encode(chain);
        assert_eq!(text.len(), BYTES);
        assert_eq!(decode(&text), Some(chain));
        for bad in ["", "7 00\n", &text[1..], &text[..text.len() - 1], &text.replace('7', "+")] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
