//! Credentials: where they are kept, and a wrapper that does not show them.
//!
//! A credential is read when it is used, so a rotated file is picked up without a restart and nothing
//! secret stays in memory longer than a call.

use std::fmt;
use std::io::{self, Read as _};
use std::path::PathBuf;

use crate::files;

/// The variable by which systemd names the directory of `LoadCredential=`.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Tokens are short; a wrong path must not fill memory.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// What is shown where a secret would be.
pub(crate) const REDACTED: &str = "[secret]";

/// A text that no log, error or debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of this secret covered.
    #[must_use]
    pub fn cover(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, REDACTED) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Where a credential is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that holds it and nothing else; a line end after it is dropped.
    File(PathBuf),
    /// A systemd credential (`LoadCredential=NAME:…`, `SetCredentialEncrypted=NAME:…`).
    Credential(String),
}

/// Why a credential cannot be used. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error(
        "cannot read the secret in {path}: {cause}. Check that the file is there and that the user of this \
         service may read it"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file holds nothing.
    #[error("the secret in {path} is empty. Put the token into the file, as its only line")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something that is no token.
    #[error(
        "what is in {path} is not a secret on one line of at most 64 KiB. Put the token alone into the file"
    )]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
    /// systemd gave no credentials to this process.
    #[error(
        "there is no systemd credential `{name}`: {CREDENTIALS_VARIABLE} is not set. Add \
         `LoadCredential={name}:/path/to/file` to the unit, or name a file instead"
    )]
    NoCredentials {
        /// The credential asked for.
        name: String,
    },
}

impl SecretSource {
    /// Why it cannot be used now, and what to do.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.read().err().map(|error| format!("a secret of the agent cannot be used now: {error}"))
    }

    /// Reads the secret as it is now.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let path = self.path()?;
        let unreadable = |cause| SecretError::Unreadable { path: path.clone(), cause };
        let mut bytes = Vec::new();
        // A pipe would be waited for, by whoever is about to page.
        let file = files::open_regular_or_link(&path).map_err(unreadable)?;
        file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_SECRET_BYTES {
            return Err(SecretError::NotOneLine { path });
        }
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NotOneLine { path: path.clone() })?;
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty { path });
        }
        if text.contains(char::is_control) {
            return Err(SecretError::NotOneLine { path });
        }
        Ok(Secret::new(text))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> Result<PathBuf, SecretError> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => std::env::var_os(CREDENTIALS_VARIABLE)
                .map(|directory| PathBuf::from(directory).join(name))
                .ok_or_else(|| SecretError::NoCredentials { name: name.clone() }),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FileType, Mode};

    use super::*;

    fn read(content: &[u8]) -> Result<Secret, SecretError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, content).unwrap();
        SecretSource::File(path).read()
    }

    #[test]
    fn a_secret_is_the_only_line_of_its_file() {
        assert_eq!(read(b"hunter2\n").unwrap().expose(), "hunter2");
        assert_eq!(read(b"  hunter2 \r\n\n").unwrap().expose(), "hunter2");
        assert!(matches!(read(b"\n"), Err(SecretError::Empty { .. })));
        assert!(matches!(read(b"a\nb"), Err(SecretError::NotOneLine { .. })));
        assert!(matches!(read(b"\xff"), Err(SecretError::NotOneLine { .. })));
        assert!(matches!(read(&[b'a'; 65537]), Err(SecretError::NotOneLine { .. })));
    }

    #[test]
    fn a_pipe_or_a_directory_is_refused_and_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [pipe.as_path(), directory.path()] {
            let refused = SecretSource::File(path.to_owned()).read().unwrap_err().to_string();
            assert!(refused.contains("not a regular file"), "{refused}");
        }
        std::fs::write(directory.path().join("token"), b"hunter2").unwrap();
        std::os::unix::fs::symlink("token", &link).unwrap();
        assert_eq!(SecretSource::File(link).read().unwrap().expose(), "hunter2");
    }

    #[test]
    fn a_secret_that_cannot_be_read_says_where_to_look() {
        let missing = SecretSource::File("/nonexistent/token".into()).read().unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/token") && missing.contains("Check"), "{missing}");
        let none = SecretSource::Credential("pager".to_owned()).read().unwrap_err().to_string();
        assert!(none.contains("LoadCredential=pager:"), "{none}");
    }

    #[test]
    fn debug_output_and_covered_texts_do_not_show_it() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), REDACTED);
        assert_eq!(secret.cover("a hunter2 b hunter2"), "a [secret] b [secret]");
        assert_eq!(Secret::new("").cover("as it is"), "as it is");
    }
}
