//! What is probed: a URL without a user, over HTTP or HTTPS, anywhere.

use std::fmt;

use ureq::http::Uri;

/// Longer ones are no URLs that anybody writes.
const MAX_BYTES: usize = 2048;
/// What is asked for where a URL has no path.
const USUAL_PATH: &str = "/health";

/// A URL that is asked by GET. It may be plain HTTP: what it answers is public.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeUrl {
    is_tls: bool,
    host: String,
    port: u16,
    target: String,
}

/// Why a text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeUrlError {
    /// Not `scheme://host…`.
    #[error("is not a URL like `http://192.0.2.1:8080/health`")]
    NotAUrl,
    /// A user name or a fragment.
    #[error("has a user name or a fragment, which a probe does not send")]
    TooMuch,
}

impl ProbeUrl {
    /// Reads `text`. A URL without a path asks for `/health`.
    pub fn new(text: &str) -> Result<Self, ProbeUrlError> {
        if text.len() > MAX_BYTES {
            return Err(ProbeUrlError::NotAUrl);
        }
        let uri: Uri = text.parse().map_err(|_| ProbeUrlError::NotAUrl)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ProbeUrlError::NotAUrl),
        };
        let authority = uri.authority().ok_or(ProbeUrlError::NotAUrl)?;
        if authority.as_str().contains('@') || text.contains('#') {
            return Err(ProbeUrlError::TooMuch);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let rest = &authority.as_str()[authority.host().len()..];
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(ProbeUrlError::NotAUrl)?,
            None if rest.is_empty() => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            None => return Err(ProbeUrlError::NotAUrl),
        };
        if host.is_empty() {
            return Err(ProbeUrlError::NotAUrl);
        }
        let target = match uri.path_and_query().map(|target| target.as_str()) {
            None | Some("" | "/") => USUAL_PATH.to_owned(),
            Some(target) => target.to_owned(),
        };
        Ok(Self { is_tls, host, port, target })
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Another path at the same place.
    #[must_use]
    pub fn with_target(&self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self.clone() }
    }

    /// The value of the `Host` field.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for ProbeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_into_where_and_what() {
        for (text, shown) in [
            ("http://192.0.2.1:8080/health", "http://192.0.2.1:8080/health"),
            ("https://rates.example.com", "https://rates.example.com/health"),
            ("http://[2001:db8::1]:81/", "http://[2001:db8::1]:81/health"),
            ("http://a:80/x?y=z", "http://a/x?y=z"),
            ("https://a:443", "https://a/health"),
        ] {
            assert_eq!(ProbeUrl::new(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_cannot_be_probed_is_refused() {
        for (text, why) in [
            ("", ProbeUrlError::NotAUrl),
            ("a", ProbeUrlError::NotAUrl),
            ("ftp://a", ProbeUrlError::NotAUrl),
            ("/health", ProbeUrlError::NotAUrl),
            ("http://a:0", ProbeUrlError::NotAUrl),
            ("http://a:x", ProbeUrlError::NotAUrl),
            ("http://a:", ProbeUrlError::NotAUrl),
            ("http://me@a", ProbeUrlError::TooMuch),
            ("http://a/#b", ProbeUrlError::TooMuch),
        ] {
            assert_eq!(ProbeUrl::new(text), Err(why), "{text}");
        }
        assert_eq!(ProbeUrl::new(&format!("http://{}", "a".repeat(3000))), Err(ProbeUrlError::NotAUrl));
    }
}
