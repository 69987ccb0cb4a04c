//! The chunked transfer coding (RFC 9112, 7.1), read strictly and resumably.

use super::reject::Reject;

/// A chunk size of more digits is refused before its value is looked at.
const MAX_SIZE_DIGITS: u32 = 8;
/// Bytes of extensions, all chunks together.
const MAX_EXTENSION_BYTES: usize = 256;
/// Bytes of the trailer section.
const MAX_TRAILER_BYTES: usize = 1024;

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Size { digits: u32, size: usize },
    SizeBlank { size: usize },
    Extension { size: usize },
    SizeLineFeed { size: usize },
    Data { left: usize },
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// Finds the end of a chunked body over as many calls as its bytes need to come in; no byte is looked
/// at twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkScanner {
    stage: Stage,
    position: usize,
    extension_bytes: usize,
    trailer_bytes: usize,
}

impl ChunkScanner {
    pub(super) const fn new() -> Self {
        Self { stage: Stage::Size { digits: 0, size: 0 }, position: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    /// Reads on in `body`, the body from its first byte, and gives its length once its end is in
    /// sight. `data` gets the content, piece by piece.
    pub(super) fn advance<'b>(
        &mut self,
        body: &'b [u8],
        max_bytes: usize,
        mut data: impl FnMut(&'b [u8]),
    ) -> Result<Option<usize>, Reject> {
        while self.stage != Stage::Done {
            if let Stage::Data { left } = self.stage {
                // Refused when the size is known, not when the bytes are there: the answer must not
                // depend on how they were split.
                if left > max_bytes.saturating_sub(self.position) {
                    return Err(Reject::BodyTooLarge);
                }
                let piece = &body[self.position..body.len().min(self.position + left)];
                data(piece);
                self.position += piece.len();
                if piece.len() < left {
                    self.stage = Stage::Data { left: left - piece.len() };
                    return Ok(None);
                }
                self.stage = Stage::DataReturn;
            }
            if self.position >= max_bytes {
                return Err(Reject::BodyTooLarge);
            }
            let Some(&byte) = body.get(self.position) else { return Ok(None) };
            self.position += 1;
            self.stage = self.after(byte)?;
        }
        Ok(Some(self.position))
    }

    fn after(&mut self, byte: u8) -> Result<Stage, Reject> {
        match (self.stage, byte) {
            (Stage::Size { digits: 1.., size }, b'\r') => Ok(Stage::SizeLineFeed { size }),
            (Stage::Size { digits: 1.., size } | Stage::SizeBlank { size }, b';') => {
                Ok(Stage::Extension { size })
            }
            // Bad whitespace, which is to be taken all the same (RFC 9112, 7.1.1).
            (Stage::Size { digits: 1.., size } | Stage::SizeBlank { size }, b'\t' | b' ')
                if self.extension_bytes < MAX_EXTENSION_BYTES =>
            {
                self.extension_bytes += 1;
                Ok(Stage::SizeBlank { size })
            }
            (Stage::Size { digits, size }, _) if digits < MAX_SIZE_DIGITS => {
                let digit = (byte as char).to_digit(16).ok_or(Reject::BadChunk)?;
                Ok(Stage::Size { digits: digits + 1, size: size << 4 | digit as usize })
            }
            (Stage::Extension { size }, b'\r') => Ok(Stage::SizeLineFeed { size }),
            (Stage::Extension { size }, b'\t' | b' '..=b'~' | 0x80..)
                if self.extension_bytes < MAX_EXTENSION_BYTES =>
            {
                self.extension_bytes += 1;
                Ok(Stage::Extension { size })
            }
            (Stage::SizeLineFeed { size: 0 }, b'\n') => Ok(Stage::TrailerStart),
            (Stage::SizeLineFeed { size }, b'\n') => Ok(Stage::Data { left: size }),
            (Stage::DataReturn, b'\r') => Ok(Stage::DataLineFeed),
            (Stage::DataLineFeed, b'\n') => Ok(Stage::Size { digits: 0, size: 0 }),
            (stage, _) => self.after_in_trailers(stage, byte),
        }
    }

    /// Trailers are checked for their grammar and dropped: nothing in them may change a request.
    fn after_in_trailers(&mut self, stage: Stage, byte: u8) -> Result<Stage, Reject> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > MAX_TRAILER_BYTES {
            return Err(Reject::BadChunk);
        }
        match (stage, byte) {
            (Stage::TrailerStart, b'\r') => Ok(Stage::LastLineFeed),
            (Stage::TrailerStart | Stage::TrailerName, _) if is_token(byte) => Ok(Stage::TrailerName),
            (Stage::TrailerName, b':') => Ok(Stage::TrailerValue),
            (Stage::TrailerValue, b'\r') => Ok(Stage::TrailerLineFeed),
            (Stage::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(Stage::TrailerValue),
            (Stage::TrailerLineFeed, b'\n') => Ok(Stage::TrailerStart),
            (Stage::LastLineFeed, b'\n') => Ok(Stage::Done),
            _ => Err(Reject::BadChunk),
        }
    }
}

/// A token character (RFC 9110, 5.6.2).
pub(super) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 4096;

    fn whole(body: &[u8]) -> Result<Option<(usize, Vec<u8>)>, Reject> {
        let mut content = Vec::new();
        let end = ChunkScanner::new().advance(body, LIMIT, |piece| content.extend_from_slice(piece))?;
        Ok(end.map(|end| (end, content)))
    }

    fn byte_by_byte(body: &[u8]) -> Result<Option<(usize, Vec<u8>)>, Reject> {
        let mut content = Vec::new();
        let mut scanner = ChunkScanner::new();
        for end in 0..=body.len() {
            if let Some(end) =
                scanner.advance(&body[..end], LIMIT, |piece| content.extend_from_slice(piece))?
            {
                return Ok(Some((end, content)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunked_bodies_end_where_the_coding_says() {
        let good: [(&[u8], usize, &[u8]); 9] = [
            (b"0\r\n\r\n", 5, b""),
            (b"3\r\nabc\r\n0\r\n\r\nGET /", 13, b"abc"),
            (b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 18, b"abc"),
            (b"A\r\n0123456789\r\n00\r\n\r\n", 21, b"0123456789"),
            (b"0000000a;x=y\r\n0123456789\r\n0;z\r\n\r\n", 33, b"0123456789"),
            (b"2;q=\"a b\"\r\n\r\n\r\n0\r\n\r\n", 20, b"\r\n"),
            (b"1 \t; q = v\r\na\r\n0 ;z\r\n\r\n", 23, b"a"),
            (b"1;q=\"\xe9\"\r\na\r\n0\r\n\r\n", 17, b"a"),
            (b"0\r\nX: y\r\nEmpty:\r\n\r\n0", 19, b""),
        ];
        for (body, end, content) in good {
            let expected = Ok(Some((end, content.to_vec())));
            assert_eq!(whole(body), expected, "{:?}", String::from_utf8_lossy(body));
            assert_eq!(byte_by_byte(body), expected, "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_broken_chunk_is_refused_however_it_arrives() {
        let bad: [&[u8]; 25] = [
            b"\r\n",
            b";x\r\n",
            b" 3\r\n",
            b"3 \r\n",
            b"3 3\r\n",
            b"3\t\n",
            b"3;\x7f\r\n",
            b"+3\r\n",
            b"-1\r\n",
            b"0x3\r\n",
            b"g\r\n",
            b"3\nabc",
            b"3\rabc",
            b"000000003\r\n",
            b"3\r\nabcd",
            b"3\r\nabc\n0",
            b"3\r\nabc\r0",
            b"3;\n",
            b"3;\0\r\n",
            b"0\r\n:x\r\n",
            b"0\r\nx : y\r\n",
            b"0\r\nx\r\n",
            b"0\r\n y\r\n",
            b"0\r\nx:\0\r\n",
            b"0\r\n\n",
        ];
        for body in bad {
            assert_eq!(whole(body), Err(Reject::BadChunk), "{:?}", String::from_utf8_lossy(body));
            assert_eq!(byte_by_byte(body), Err(Reject::BadChunk), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_trailers_and_bodies_are_bounded() {
        let extension = [b"0;".to_vec(), vec![b'x'; MAX_EXTENSION_BYTES + 1]].concat();
        assert_eq!(byte_by_byte(&extension), Err(Reject::BadChunk));
        let blanks = [b"0".to_vec(), vec![b' '; MAX_EXTENSION_BYTES + 1]].concat();
        assert_eq!(byte_by_byte(&blanks), Err(Reject::BadChunk));
        let trailer = [b"0\r\nx:".to_vec(), vec![b'x'; MAX_TRAILER_BYTES]].concat();
        assert_eq!(byte_by_byte(&trailer), Err(Reject::BadChunk));
        assert_eq!(byte_by_byte(b"ffffffff\r\n"), Err(Reject::BodyTooLarge));
        let dust = b"1\r\na\r\n".repeat(LIMIT / 6 + 1);
        assert_eq!(byte_by_byte(&dust), Err(Reject::BodyTooLarge));
        assert_eq!(whole(&dust), Err(Reject::BodyTooLarge));
    }
}
