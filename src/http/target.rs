//! Request targets: their forms, and percent-decoding.

use super::reject::Reject;

/// Path and query of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'i> {
    /// The path, not decoded, beginning with a slash.
    pub path: &'i [u8],
    /// What follows the question mark.
    pub query: Option<&'i [u8]>,
}

/// What may stand in a URI (RFC 3986, 2), without `#`: a fragment is never sent.
static URI_CHARACTERS: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(
                byte as u8,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b':'
                    | b'/'
                    | b'?'
                    | b'['
                    | b']'
                    | b'@'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b'%'
            );
        byte += 1;
    }
    allowed
};

impl<'i> Target<'i> {
    /// Reads a target in origin form (`/path?query`) or absolute form (`http://host/path?query`).
    ///
    /// # Errors
    /// [`Reject::BadTarget`] for any other form and for characters outside the URI set.
    pub fn parse(target: &'i [u8]) -> Result<Self, Reject> {
        if !target.iter().all(|b| URI_CHARACTERS[usize::from(*b)]) {
            return Err(Reject::BadTarget);
        }
        let rest = if target.first() == Some(&b'/') { target } else { after_authority(target)? };
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
            None => (rest, None),
        };
        Ok(Self { path: if path.is_empty() { b"/" } else { path }, query })
    }
}

/// What follows the host of an absolute-form target. It overrides `Host` (RFC 9112, 3.2.2), but
/// requests are not told apart by host here, so it only has to be one.
fn after_authority(target: &[u8]) -> Result<&[u8], Reject> {
    let scheme_end = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len())
        .ok_or(Reject::BadTarget)?;
    let rest = &target[scheme_end..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    if end == 0 || !is_host(&rest[..end]) {
        return Err(Reject::BadTarget);
    }
    Ok(&rest[end..])
}

/// Whether `value` can be a host with an optional port (RFC 9110, 7.2). Userinfo and lists cannot.
pub(super) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|b| {
        b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b':'
                    | b'['
                    | b']'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    })
}

/// Why a segment cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPercent {
    /// A percent sign without two hexadecimal digits.
    #[error("a `%` must be followed by two hexadecimal digits")]
    Malformed,
    /// Longer than the buffer once decoded.
    #[error("too long")]
    TooLong,
}

/// Decodes `%XX` in `segment`; borrows it when there is nothing to decode.
///
/// # Errors
/// When a percent sign is malformed, or the result is longer than `buffer`.
#[inline]
pub fn percent_decode<'a>(segment: &'a [u8], buffer: &'a mut [u8]) -> Result<&'a [u8], BadPercent> {
    match memchr::memchr(b'%', segment) {
        None if segment.len() <= buffer.len() => Ok(segment),
        None => Err(BadPercent::TooLong),
        Some(_) => decode_into(segment, buffer),
    }
}

fn decode_into<'a>(segment: &[u8], buffer: &'a mut [u8]) -> Result<&'a [u8], BadPercent> {
    let mut len = 0;
    let mut bytes = segment.iter();
    let mut too_long = false;
    while let Some(&byte) = bytes.next() {
        let decoded = if byte == b'%' {
            let mut digit = || bytes.next().and_then(|b| (*b as char).to_digit(16));
            match (digit(), digit()) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err(BadPercent::Malformed),
            }
        } else {
            byte
        };
        match buffer.get_mut(len) {
            Some(place) => *place = decoded,
            None => too_long = true,
        }
        len += 1;
    }
    if too_long { Err(BadPercent::TooLong) } else { Ok(&buffer[..len]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_one_reading_or_none() {
        let good: [(&str, &str, Option<&str>); 8] = [
            ("/", "/", None),
            ("/a?b=c", "/a", Some("b=c")),
            ("/a?", "/a", Some("")),
            ("/a?b?c", "/a", Some("b?c")),
            ("http://h/a", "/a", None),
            ("HTTPS://h:80/a?q", "/a", Some("q")),
            ("http://h", "/", None),
            ("http://[::1]:8080?q", "/", Some("q")),
        ];
        for (target, path, query) in good {
            let parsed = Target::parse(target.as_bytes()).unwrap();
            assert_eq!((parsed.path, parsed.query), (path.as_bytes(), query.map(str::as_bytes)), "{target}");
        }
        let bad = [
            "",
            "*",
            "a",
            "h:80",
            "http:///a",
            "http://",
            "http://u@h/",
            "ftp://h/",
            "/a#f",
            "/a\"",
            "/é",
            "/{k}",
        ];
        for target in bad {
            assert_eq!(Target::parse(target.as_bytes()), Err(Reject::BadTarget), "{target}");
        }
    }

    #[test]
    fn percent_decoding_is_exact_and_bounded() {
        let decode = |s: &str| percent_decode(s.as_bytes(), &mut [0; 4]).map(<[u8]>::to_vec);
        assert_eq!(decode("abcd"), Ok(b"abcd".to_vec()));
        assert_eq!(decode("%61%2f%00%fF"), Ok(b"a/\0\xff".to_vec()));
        assert_eq!(decode("abcde"), Err(BadPercent::TooLong));
        assert_eq!(decode("%61%61%61%61%61"), Err(BadPercent::TooLong));
        for malformed in ["%", "a%", "%4", "%4g", "%+1", "%%41", "abcdef%"] {
            assert_eq!(decode(malformed), Err(BadPercent::Malformed), "{malformed}");
        }
    }
}
