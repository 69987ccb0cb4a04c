//! Base URLs that may be sent a credential, and percent-encoding.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// Where a service is: scheme, host and an optional path, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

/// Why a text is not a base URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not `scheme://host…`.
    #[error("is not a URL like `https://api.example.com`")]
    NotAUrl,
    /// Credentials go out over TLS only, except on this machine.
    #[error("is not https; plain http is only for this machine (127.0.0.1, ::1, localhost)")]
    NotHttps,
    /// User name, query or fragment.
    #[error("has a user name, a query or a fragment; give scheme, host and path only")]
    TooMuch,
}

impl BaseUrl {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Self, BaseUrlError> {
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(BaseUrlError::NotAUrl);
        };
        match scheme {
            "https" => {}
            "http" if is_this_machine(authority.host()) => {}
            "http" => return Err(BaseUrlError::NotHttps),
            _ => return Err(BaseUrlError::NotAUrl),
        }
        if authority.as_str().contains('@') || text.contains(['?', '#']) {
            return Err(BaseUrlError::TooMuch);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// This URL with `path`, which begins with a slash, after it.
    #[must_use]
    pub fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// The host, and the port where it is not that of the scheme: the value of a `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_machine_by_tls_only() {
        for good in [
            "https://api.example.com",
            "https://a/b/",
            "http://127.0.0.1:80",
            "http://[::1]:9",
            "http://localhost",
        ] {
            assert!(BaseUrl::new(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://api.example.com", BaseUrlError::NotHttps),
            ("http://10.0.0.1", BaseUrlError::NotHttps),
            ("http://localhost.example.com", BaseUrlError::NotHttps),
            ("ftp://a", BaseUrlError::NotAUrl),
            ("api.example.com", BaseUrlError::NotAUrl),
            ("", BaseUrlError::NotAUrl),
            ("https://user:word@a", BaseUrlError::TooMuch),
            ("https://a?b=c", BaseUrlError::TooMuch),
        ] {
            assert_eq!(BaseUrl::new(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_path_is_joined_by_one_slash() {
        let base = BaseUrl::new("https://a.example:8443/v4/").unwrap();
        assert_eq!(base.join("/zones"), "https://a.example:8443/v4/zones");
        assert_eq!(base.authority(), "a.example:8443");
    }
}
