//! Percent-encoding of names that go into a URL.

use std::fmt::Write as _;

/// Encodes everything but the unreserved characters (RFC 3986, 2.3), as a part of a path or of a query.
pub(crate) fn percent_encode(text: impl AsRef<[u8]>) -> String {
    let text = text.as_ref();
    text.iter().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(char::from(*byte));
        } else {
            // A String takes all that is written.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(percent_encode("aZ9-._~"), "aZ9-._~");
        assert_eq!(percent_encode("a b/ü[]"), "a%20b%2F%C3%BC%5B%5D");
        assert_eq!(percent_encode([0, 0xff]), "%00%FF");
    }
}
