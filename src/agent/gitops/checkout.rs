//! Commits the region to a checkout by `git`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::values::{ValuesError, get_value, set_value};
use crate::agent::command::{CommandError, CommandLine, Finished, last_line};

/// Values files are small; a wrong path must not fill memory.
const MAX_FILE_BYTES: usize = 4 << 20;

/// A values file in a checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The checkout's directory.
    pub directory: PathBuf,
    /// The file in it, relative.
    pub file: PathBuf,
    /// The key to set: keys with dots between.
    pub key: String,
    /// Name and e-mail address of the commits.
    pub author: (String, String),
    /// Where commits go, when they go somewhere.
    pub push: Option<Push>,
    /// For each call of `git`.
    pub timeout: Duration,
}

/// Where commits go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// A remote of the checkout.
    pub remote: String,
    /// The branch there.
    pub branch: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// There is a new commit.
    Changed,
    /// The file says so already.
    AlreadyThere,
}

/// Why the region was not committed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The file has a form that is not changed.
    #[error("{file}: {cause}")]
    Values {
        /// The file.
        file: PathBuf,
        /// What is wrong with the file.
        cause: ValuesError,
    },
    /// The file cannot be read or written.
    #[error(
        "cannot use {file}: {cause}. Check that the checkout is there and that this service may write to it"
    )]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file is not one in the checkout.
    #[error("{file} is not a path inside the checkout. Give it relative to the checkout, without `..`")]
    Outside {
        /// The file.
        file: PathBuf,
    },
    /// Someone has uncommitted changes in the file.
    #[error(
        "{file} has changes that are not committed. Commit or discard them; the agent does not mix with them"
    )]
    Dirty {
        /// The file.
        file: PathBuf,
    },
    /// The file names another region than expected.
    #[error(
        "{file} says {found} where {expected} was expected. Somebody else changed it, so it was left alone; \
         find out who, then set it by hand"
    )]
    Conflict {
        /// The file.
        file: PathBuf,
        /// The region that was expected.
        expected: String,
        /// The region that is there.
        found: String,
    },
    /// It was stopped on the way.
    #[error("{step}: {why}")]
    Stopped {
        /// How far it got.
        step: &'static str,
        /// Who stopped it, or what.
        why: String,
    },
    /// `git` does not run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// `git` refuses.
    #[error("{command} failed: {last_words}. {next}")]
    Git {
        /// The command.
        command: String,
        /// The end of what it says.
        last_words: String,
        /// What to do.
        next: &'static str,
    },
}

impl Checkout {
    /// Sets the region from `expected` to `wanted`, commits the one file, and pushes.
    pub fn commit(&self, expected: &str, wanted: &str, message: &str) -> Result<Committed, GitError> {
        self.commit_while(&|| Ok(()), expected, wanted, message)
    }

    /// As [`Self::commit`], unless `may_go_on` says no right before the commit, or before the push.
    pub fn commit_while(
        &self,
        may_go_on: &dyn Fn() -> Result<(), String>,
        expected: &str,
        wanted: &str,
        message: &str,
    ) -> Result<Committed, GitError> {
        let path = self.path()?;
        let before = self.read(&path)?;
        let found = get_value(&before, &self.key).map_err(|cause| self.values(cause))?;
        let is_begun = self.is_dirty()?;
        if is_begun {
            self.refuse_edit_of_others(&before, wanted)?;
        } else if found == wanted {
            // An earlier run may have committed without getting to push.
            self.push_while(may_go_on)?;
            return Ok(Committed::AlreadyThere);
        } else if found != expected {
            let (expected, file) = (expected.to_owned(), self.file.clone());
            return Err(GitError::Conflict { file, expected, found });
        }
        may_go_on().map_err(|why| GitError::Stopped { step: "nothing was committed", why })?;
        if is_begun {
            let next = "The region is set in the file, and not committed. Commit it by hand";
            self.git(self.commit_command(message), next)?;
        } else {
            self.edit_and_commit(&path, &before, wanted, message)?;
        }
        self.push_while(may_go_on)?;
        Ok(Committed::Changed)
    }

    /// The file is as it was when it cannot be committed.
    fn edit_and_commit(
        &self,
        path: &Path,
        before: &str,
        wanted: &str,
        message: &str,
    ) -> Result<(), GitError> {
        let after = set_value(before, &self.key, wanted).map_err(|cause| self.values(cause))?;
        self.write(path, &after)?;
        let next = "The file was put back. Run it by hand in the checkout and mend what it says";
        if let Err(error) = self.git(self.commit_command(message), next) {
            self.write(path, before)?;
            return Err(error);
        }
        Ok(())
    }

    /// A run that was ended between its edit and its commit is gone on with; all else in the file is somebody's work.
    fn refuse_edit_of_others(&self, text: &str, wanted: &str) -> Result<(), GitError> {
        if self.is_own_edit(text, wanted) { Ok(()) } else { Err(GitError::Dirty { file: self.file.clone() }) }
    }

    /// The region that the file names now.
    pub fn found(&self) -> Result<String, GitError> {
        let text = self.read(&self.path()?)?;
        get_value(&text, &self.key).map_err(|cause| self.values(cause))
    }

    /// Exactly the commands that would be run, one a line.
    #[must_use]
    pub fn plan(&self, expected: &str, wanted: &str, message: &str) -> Vec<String> {
        let edit = format!("set `{}` in {} from {expected} to {wanted}", self.key, self.file.display());
        let commands = [Some(self.commit_command(message)), self.push_command()];
        let commands = commands.into_iter().flatten().map(|command| command.shown());
        [self.status_command().shown(), edit].into_iter().chain(commands).collect()
    }

    fn is_dirty(&self) -> Result<bool, GitError> {
        let next = "Check that the directory is a git checkout that this service may read (safe.directory)";
        Ok(!self.git(self.status_command(), next)?.stdout.trim().is_empty())
    }

    /// Whether `text` is what was committed last with the region set to `wanted`, and nothing else.
    fn is_own_edit(&self, text: &str, wanted: &str) -> bool {
        let mut committed = self.command(&["cat-file", "blob", &format!("HEAD:./{}", self.file.display())]);
        committed.max_output_bytes = MAX_FILE_BYTES;
        let committed = self.git(committed, "Look at `git status` in the checkout");
        committed.is_ok_and(|committed| {
            set_value(&committed.stdout, &self.key, wanted).is_ok_and(|edited| edited == text)
        })
    }

    fn push_while(&self, may_go_on: &dyn Fn() -> Result<(), String>) -> Result<(), GitError> {
        let step = "the commit is in the checkout and was not pushed";
        may_go_on().map_err(|why| GitError::Stopped { step, why })?;
        self.push()
    }

    fn push(&self) -> Result<(), GitError> {
        let next = "The commit is in the checkout but not pushed. Pull with rebase and push by hand, and \
            check that the deploy key may write";
        match self.push_command() {
            Some(command) => self.git(command, next).map(drop),
            None => Ok(()),
        }
    }

    fn status_command(&self) -> CommandLine {
        self.command(&["status", "--porcelain", "--", &self.file.to_string_lossy()])
    }

    /// Commits this file alone, whatever else is staged.
    fn commit_command(&self, message: &str) -> CommandLine {
        let (name, address) = &self.author;
        let (name, address) = (format!("user.name={name}"), format!("user.email={address}"));
        let file = self.file.to_string_lossy();
        self.command(&[
            "-c", &name, "-c", &address, "commit", "--quiet", "--only", "-m", message, "--", &file,
        ])
    }

    fn push_command(&self) -> Option<CommandLine> {
        let Push { remote, branch } = self.push.as_ref()?;
        Some(self.command(&["push", "--quiet", remote, &format!("HEAD:refs/heads/{branch}")]))
    }

    fn command(&self, arguments: &[&str]) -> CommandLine {
        let mut command = CommandLine::new("git", arguments.iter().copied());
        command.directory = Some(self.directory.clone());
        command.timeout = self.timeout;
        // A question on a terminal that nobody sees would wait until the time limit.
        command.environment = vec![("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned())];
        command
    }

    fn git(&self, command: CommandLine, next: &'static str) -> Result<Finished, GitError> {
        let finished = command.run()?;
        if finished.status.success() {
            return Ok(finished);
        }
        let said = if finished.stderr.trim().is_empty() { &finished.stdout } else { &finished.stderr };
        Err(GitError::Git { command: command.shown(), last_words: last_line(said), next })
    }

    fn path(&self) -> Result<PathBuf, GitError> {
        let is_inside =
            self.file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let path = self.directory.join(&self.file);
        // A link could lead anywhere.
        let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        if is_inside && !is_link { Ok(path) } else { Err(GitError::Outside { file: self.file.clone() }) }
    }

    fn read(&self, path: &Path) -> Result<String, GitError> {
        let unusable = |cause| GitError::File { file: self.file.clone(), cause };
        let length = fs::metadata(path).map_err(unusable)?.len();
        if length > MAX_FILE_BYTES as u64 {
            return Err(unusable(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 4 MiB")));
        }
        fs::read_to_string(path).map_err(unusable)
    }

    /// Whole or not at all, with the permissions that it had.
    fn write(&self, path: &Path, text: &str) -> Result<(), GitError> {
        let write = || {
            let temporary = path.with_extension("openclaw-new");
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.set_permissions(fs::metadata(path)?.permissions())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|cause| GitError::File { file: self.file.clone(), cause })
    }

    fn values(&self, cause: ValuesError) -> GitError {
        GitError::Values { file: self.file.clone(), cause }
    }
}
