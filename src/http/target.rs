//! Request targets: their forms, and percent-decoding.

use std::net::Ipv6Addr;

use super::reject::Reject;

/// Path and query of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'i> {
    /// The path, not decoded, beginning with a slash; `*` for the server as a whole.
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

/// What may stand in a host as it is: unreserved characters and sub-delimiters (RFC 3986, 2.2 and 2.3),
/// without the comma, which would make a list of what some other server joined.
static HOST_CHARACTERS: [bool; 256] = {
    let mut allowed = URI_CHARACTERS;
    let others = *b":/?[]@,%";
    let mut place = 0;
    while place < others.len() {
        allowed[others[place] as usize] = false;
        place += 1;
    }
    allowed
};

impl<'i> Target<'i> {
    /// The server as a whole (RFC 9112, 3.2.4), which only OPTIONS may ask about.
    pub(super) const ASTERISK: Target<'static> = Target { path: b"*", query: None };

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
    if !is_authority(&rest[..end]) {
        return Err(Reject::BadTarget);
    }
    Ok(&rest[end..])
}

/// Whether `value` can be that of a `Host` field: empty, or a host with an optional port (RFC 9112, 3.2).
pub(super) fn is_host_field(value: &[u8]) -> bool {
    value.is_empty() || is_authority(value)
}

/// Whether `value` is a host that is not empty with an optional port (RFC 9110, 4.2.1). Userinfo and
/// lists are not.
fn is_authority(value: &[u8]) -> bool {
    match value.split_first() {
        Some((b'[', rest)) => memchr::memchr(b']', rest)
            .is_some_and(|end| is_ip_literal(&rest[..end]) && is_port_or_nothing(&rest[end + 1..])),
        Some(_) => {
            let end = memchr::memrchr(b':', value).unwrap_or(value.len());
            end > 0 && is_name(&value[..end]) && is_port_or_nothing(&value[end..])
        }
        None => false,
    }
}

/// A colon and digits; there may be no digits.
fn is_port_or_nothing(value: &[u8]) -> bool {
    match value.split_first() {
        Some((first, port)) => *first == b':' && port.iter().all(u8::is_ascii_digit),
        None => true,
    }
}

/// What stands in the brackets of an IP literal (RFC 3986, 3.2.2).
fn is_ip_literal(value: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = value {
        let dot = memchr::memchr(b'.', future).unwrap_or(0);
        let (version, address) = future.split_at(dot);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && address.len() > 1
            && address.iter().all(|b| *b == b':' || HOST_CHARACTERS[usize::from(*b)]);
    }
    std::str::from_utf8(value).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// A registered name or an IPv4 address.
fn is_name(value: &[u8]) -> bool {
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => {
                let mut hexdigit = || bytes.next().is_some_and(u8::is_ascii_hexdigit);
                hexdigit() && hexdigit()
            }
            other => HOST_CHARACTERS[usize::from(*other)],
        };
        if !good {
            return false;
        }
    }
    true
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
            "http://:80/",
            "http://h:port/",
            "http://:::]][[/",
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
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for good in [
            "",
            "h",
            "h:",
            "h:80",
            "h:99999",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "[::ffff:10.0.0.1]",
            "[v1.a:b]",
            "[vF.~!]:1",
            "a%20b",
            "a.b-c_d~e!$&'()*+;=",
        ] {
            assert!(is_host_field(good.as_bytes()), "{good}");
        }
        for bad in [
            ":",
            ":80",
            "h:port",
            "h:8 0",
            "h:+8",
            "a:b:c",
            "::1",
            "::1:80",
            "[::1",
            "::1]",
            "[]",
            "[:::]",
            "[::1]80",
            "[::1]:x",
            "[::1%25eth0]",
            "a[::1]",
            "[::1][::1]",
            ":::]][[",
            "[10.0.0.1]",
            "[v.a]",
            "[v1.]",
            "[v1]",
            "[vg.a]",
            "[v1.a%20]",
            "a%zz",
            "a%2",
            "%",
            "u@h",
            "a/b",
            "a b",
            "a,b",
            "a?b",
            "a\"b",
            "é",
        ] {
            assert!(!is_host_field(bad.as_bytes()), "{bad}");
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
