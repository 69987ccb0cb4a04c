//! What commands that speak with a running server have in common.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::WRONG_CONFIGURATION;
use super::output::{complain, end_with, fail};
use crate::admin::client::AskError;
use crate::config::{self, Problems, Sources};

/// Where the unit file puts it.
const USUAL_SOCKET: &str = "/run/openclaw-rating/admin.sock";
/// The file that the unit names.
const FILE_OF_THE_UNIT: &str = "/etc/openclaw-rating/openclaw-rating.toml";

#[derive(Clone, Debug, Args)]
pub(super) struct ServerArguments {
    /// The server's admin socket; else that of the configuration; without one /run/openclaw-rating/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl ServerArguments {
    /// Asks the server at its socket and shows the answer; asks nobody when it is not sure which server is meant.
    pub(super) fn ask<T: Serialize>(
        &self,
        sources: &Sources,
        question: impl FnOnce(&Path) -> Result<T, AskError>,
        in_words: impl FnOnce(&T) -> String,
    ) -> ExitCode {
        match self.socket(sources) {
            Ok(socket) => self.show(question(&socket), in_words),
            Err(unknown) => {
                complain(&unknown);
                ExitCode::from(WRONG_CONFIGURATION)
            }
        }
    }

    fn socket(&self, sources: &Sources) -> Result<PathBuf, UnknownSocket> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let means = match sources.file.as_deref() {
            None => Means::Any,
            Some(file) if is_of_the_unit(file) => Means::ServiceOfTheUnit,
            Some(_) => Means::ServerOfAFile,
        };
        let Place { socket, why } = choose(config::admin_socket(sources), means, |path| path.exists())?;
        why.iter().for_each(complain);
        Ok(socket)
    }

    /// Prints an answer, in words or as JSON; what goes wrong goes to standard error.
    fn show<T: Serialize>(
        &self,
        answer: Result<T, AskError>,
        in_words: impl FnOnce(&T) -> String,
    ) -> ExitCode {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        let text = match self.json {
            false => in_words(&answer),
            true => match serde_json::to_string(&answer) {
                Ok(json) => format!("{json}\n"),
                Err(error) => return fail(&error),
            },
        };
        end_with(&text, ExitCode::SUCCESS)
    }
}

/// The server that is meant by what the command line and the environment name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// No file was named.
    Any,
    /// The one with the unit's file.
    ServiceOfTheUnit,
    /// One with a file of its own: never another, whatever is wrong with that file.
    ServerOfAFile,
}

/// Where to ask, and what the person who asks should know of that.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    socket: PathBuf,
    why: Option<String>,
}

/// Why nobody is asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum UnknownSocket {
    #[error(
        "{0}\nso the socket of its server is not known, and no server was asked: mend this, or name the \
         socket with --socket PATH"
    )]
    Problems(Problems),
    #[error(
        "the configuration has neither `socket` in [admin] nor `directory` in [state], so its server listens \
         for nobody on the host, and no server was asked: name a socket with --socket PATH"
    )]
    Nowhere,
}

/// The socket of the server that is meant. To act on another one would be worse than not to act.
fn choose(
    configured: Result<Option<PathBuf>, Problems>,
    means: Means,
    exists: impl Fn(&Path) -> bool,
) -> Result<Place, UnknownSocket> {
    let usual = PathBuf::from(USUAL_SOCKET);
    match (configured, means) {
        // systemd gives the service a runtime directory, and without a path in the file the socket is there. This
        // process has no such directory, and derived a path in the state directory.
        (Ok(Some(derived)), Means::ServiceOfTheUnit) if !exists(&derived) && exists(&usual) => {
            let why = Some(format!("there is no {}: asking at {USUAL_SOCKET}", derived.display()));
            Ok(Place { socket: usual, why })
        }
        (Ok(Some(socket)), _) => Ok(Place { socket, why: None }),
        (Ok(None), Means::Any | Means::ServiceOfTheUnit) => Ok(Place { socket: usual, why: None }),
        (Ok(None), Means::ServerOfAFile) => Err(UnknownSocket::Nowhere),
        (Err(problems), Means::ServiceOfTheUnit) => {
            Ok(Place { socket: usual, why: Some(format!("{problems}\nasking at {USUAL_SOCKET}")) })
        }
        (Err(problems), Means::Any | Means::ServerOfAFile) => Err(UnknownSocket::Problems(problems)),
    }
}

/// Whether `file` is the unit's, by whatever path: people also type its name in its directory.
fn is_of_the_unit(file: &Path) -> bool {
    let of_the_unit = Path::new(FILE_OF_THE_UNIT);
    let same = || Some(file.canonicalize().ok()? == of_the_unit.canonicalize().ok()?);
    file == of_the_unit || same().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Result<Option<PathBuf>, Problems> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.toml");
        std::fs::write(&file, text).unwrap();
        config::admin_socket(&Sources { file: Some(file), ..Sources::default() })
    }

    fn chosen(text: &str, means: Means, there: &[&str]) -> Option<String> {
        let exists = |path: &Path| there.iter().any(|one| path == Path::new(one));
        choose(configured(text), means, exists).ok().map(|place| place.socket.display().to_string())
    }

    #[test]
    fn a_file_that_says_nothing_of_a_socket_is_never_taken_for_the_usual_server() {
        let means = Means::ServerOfAFile;
        for text in ["[admin", "[admin]\nsoket = \"/x\"", "[state]\ndirectory = 7", "[server]\nthreads = 1"] {
            assert_eq!(chosen(text, means, &[USUAL_SOCKET]), None, "{text}");
        }
        let derived = "[state]\ndirectory = \"/s\"";
        assert_eq!(chosen(derived, means, &[USUAL_SOCKET]).as_deref(), Some("/s/admin.sock"));
    }

    #[test]
    fn what_else_is_wrong_in_a_file_does_not_matter() {
        let text = "[admin]\nsocket = \"/x\"\n[cluster]\nsecret_file = \"/nonexistent\"\n[server]\n\
            threads = \"two\"";
        assert_eq!(chosen(text, Means::ServerOfAFile, &[]).as_deref(), Some("/x"));
    }

    #[test]
    fn the_service_of_the_unit_is_at_the_usual_place_unless_its_file_names_another() {
        let means = Means::ServiceOfTheUnit;
        let derived = "[state]\ndirectory = \"/s\"";
        assert_eq!(chosen(derived, means, &[USUAL_SOCKET]).as_deref(), Some(USUAL_SOCKET));
        assert_eq!(chosen(derived, means, &["/s/admin.sock"]).as_deref(), Some("/s/admin.sock"));
        assert_eq!(chosen("[admin", means, &[]).as_deref(), Some(USUAL_SOCKET));
        let named = "[admin]\nsocket = \"/x\"";
        assert_eq!(chosen(named, means, &["/x", USUAL_SOCKET]).as_deref(), Some("/x"));
    }

    #[test]
    fn the_unit_knows_its_file_by_its_path() {
        assert!(is_of_the_unit(Path::new(FILE_OF_THE_UNIT)));
        assert!(!is_of_the_unit(Path::new("/etc/openclaw-rating/staging.toml")));
    }
}
