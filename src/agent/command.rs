//! Runs a program of the operator's: time-limited, its output bounded, its whole group ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// The longest time between two looks at whether the program has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A program that is told to end may tidy up for so long.
const GRACE: Duration = Duration::from_millis(500);
/// Pieces of 4 KiB that are read at a time: more than a pipe holds, so that what a program left in it is all read.
const MAX_READS: usize = 32;

/// A program, its arguments and what is added to its environment. Arguments are seen by every user of
/// the machine, so a secret is never one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: PathBuf,
    /// Its arguments; no shell reads them.
    pub arguments: Vec<OsString>,
    /// Where it runs; here when there is none.
    pub directory: Option<PathBuf>,
    /// Variables beside those of this process.
    pub environment: Vec<(String, String)>,
    /// After this it is ended, and all that it started with it.
    pub timeout: Duration,
    /// Bytes kept of what it writes, on each of its two outputs. The rest is read and dropped.
    pub max_output_bytes: usize,
}

/// What a program that ended by itself left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote on its standard output.
    pub stdout: String,
    /// What it wrote on its standard error.
    pub stderr: String,
}

/// Why a program did not end by itself. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be started.
    #[error("cannot start {program}: {cause}. Check that it is there and that this service may run it")]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It took too long and was ended.
    #[error(
        "{program} did not end within {timeout_s} s and was killed; it may have done its work in part. Look \
         at what it changes before you run it again, by hand. Its last words: {last_words}"
    )]
    TooSlow {
        /// The program.
        program: PathBuf,
        /// Its time limit, in seconds.
        timeout_s: u64,
        /// The end of its standard error.
        last_words: String,
    },
    /// It runs, but cannot be watched.
    #[error("cannot watch {program}: {cause}; it was killed and may have done its work in part")]
    NotWatched {
        /// The program.
        program: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl CommandLine {
    /// `program` with `arguments`, 30 seconds and 64 KiB.
    #[must_use]
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            directory: None,
            environment: Vec::new(),
            timeout: Duration::from_secs(30),
            max_output_bytes: 64 << 10,
        }
    }

    /// The command as a person would type it.
    #[must_use]
    pub fn shown(&self) -> String {
        let arguments = self.arguments.iter().map(|argument| argument.to_string_lossy());
        let words = std::iter::once(self.program.to_string_lossy()).chain(arguments);
        let quote = |word: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,".contains(c);
            if !word.is_empty() && word.chars().all(is_plain) {
                word.to_owned()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        };
        words.map(|word| quote(&word)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end or to its time limit.
    pub fn run(&self) -> Result<Finished, CommandError> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let program = self.program.clone();
        let mut child =
            command.spawn().map_err(|cause| CommandError::NotStarted { program: program.clone(), cause })?;
        let mut output = Output::of(&mut child, self.max_output_bytes);
        match watch(&mut child, &mut output, Instant::now() + self.timeout) {
            Ok(Some(status)) => {
                Ok(Finished { status, stdout: output.stdout.text(), stderr: output.stderr.text() })
            }
            Ok(None) => {
                end_group(&mut child, &mut output);
                let last_words = last_line(&output.stderr.text());
                Err(CommandError::TooSlow { program, timeout_s: self.timeout.as_secs(), last_words })
            }
            Err(cause) => {
                end_group(&mut child, &mut output);
                Err(CommandError::NotWatched { program, cause })
            }
        }
    }
}

/// The status of a program that ends before `deadline`. Its children may hold the pipes open: only its
/// own end counts.
fn watch(child: &mut Child, output: &mut Output, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        output.read()?;
        if status.is_some() || Instant::now() >= deadline {
            return Ok(status);
        }
        output.wait(LOOK_EVERY)?;
    }
}

/// Asks the group to end, then makes it.
fn end_group(child: &mut Child, output: &mut Output) {
    let group = Pid::from_child(child);
    let _ = kill_process_group(group, Signal::TERM);
    let ended = watch(child, output, Instant::now() + GRACE);
    let _ = kill_process_group(group, Signal::KILL);
    if !matches!(ended, Ok(Some(_))) {
        let _ = child.wait();
    }
}

/// The two outputs of a program, read as they come.
struct Output {
    stdout: Kept<ChildStdout>,
    stderr: Kept<ChildStderr>,
}

impl Output {
    fn of(child: &mut Child, max_bytes: usize) -> Self {
        let kept_bytes = max_bytes;
        Self {
            stdout: Kept { pipe: child.stdout.take(), bytes: Vec::new(), kept_bytes },
            stderr: Kept { pipe: child.stderr.take(), bytes: Vec::new(), kept_bytes },
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.stdout.read()?;
        self.stderr.read()
    }

    /// Until there is something to read, at most `longest`.
    fn wait(&self, longest: Duration) -> io::Result<()> {
        let out = self.stdout.pipe.as_ref().map(AsFd::as_fd);
        let err = self.stderr.pipe.as_ref().map(AsFd::as_fd);
        let mut pipes: Vec<PollFd<'_>> =
            out.into_iter().chain(err).map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)).collect();
        poll_for(&mut pipes, longest).map(drop)
    }
}

/// The beginning of what comes out of a pipe; the rest is read and dropped, so that the writer goes on.
struct Kept<P> {
    pipe: Option<P>,
    bytes: Vec<u8>,
    kept_bytes: usize,
}

impl<P: io::Read + AsFd> Kept<P> {
    /// Takes what is there, without waiting. A program that writes faster than this reads must not keep its own
    /// time limit from being looked at.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        for _ in 0..MAX_READS {
            let Some(pipe) = &mut self.pipe else { break };
            let mut ready = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)];
            if poll_for(&mut ready, Duration::ZERO)? == 0 {
                break;
            }
            let count = pipe.read(&mut buffer)?;
            let room = self.kept_bytes.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&buffer[..count.min(room)]);
            if count == 0 {
                self.pipe = None;
            }
        }
        Ok(())
    }
}

impl<P> Kept<P> {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// How many of `pipes` can be read, after at most `longest`.
fn poll_for(pipes: &mut [PollFd<'_>], longest: Duration) -> io::Result<usize> {
    let longest = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
    match poll(pipes, Some(&longest)) {
        Ok(ready) => Ok(ready),
        Err(Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The last line that says something, for an error.
#[must_use]
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(none)");
    line.trim().chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandLine {
        CommandLine::new("/bin/sh", ["-c", script])
    }

    #[test]
    fn a_program_gets_its_environment_and_gives_its_outputs_and_status() {
        let mut command = shell("echo $WHERE; echo oops >&2; exit 3");
        command.environment.push(("WHERE".to_owned(), "here".to_owned()));
        let finished = command.run().unwrap();
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("here\n", "oops\n"));
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn a_program_that_takes_too_long_ends_with_all_that_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = shell("trap '' TERM; (sleep 1; touch late) & echo waiting >&2; wait; sleep 60");
        command.directory = Some(directory.path().to_owned());
        command.timeout = Duration::from_millis(200);
        let text = command.run().unwrap_err().to_string();
        assert!(text.contains("Look at what it changes") && text.ends_with("waiting"), "{text}");
        std::thread::sleep(Duration::from_millis(900));
        assert!(!directory.path().join("late").exists());
    }

    #[test]
    fn a_child_that_keeps_the_pipes_open_does_not_hold_up_the_answer() {
        let start = Instant::now();
        let finished = shell("sleep 5 & echo done").run().unwrap();
        assert_eq!(finished.stdout, "done\n");
        assert!(start.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn endless_output_is_dropped_beyond_the_limit() {
        let mut command = shell("head -c 1000000 /dev/zero | tr '\\0' x");
        command.max_output_bytes = 100;
        assert_eq!(command.run().unwrap().stdout, "x".repeat(100));
    }

    #[test]
    fn output_without_end_is_not_read_to_its_end() {
        let (tell, told) = crossbeam::channel::bounded(1);
        std::thread::spawn(move || {
            let endless = std::fs::File::open("/dev/zero").unwrap();
            let mut kept = Kept { pipe: Some(endless), bytes: Vec::new(), kept_bytes: 100 };
            kept.read().unwrap();
            tell.send(kept.bytes.len()).unwrap();
        });
        assert_eq!(told.recv_timeout(Duration::from_secs(30)), Ok(100));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let text = CommandLine::new("/nonexistent/program", ["a"]).run().unwrap_err().to_string();
        assert!(text.contains("/nonexistent/program") && text.contains("Check"), "{text}");
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        assert_eq!(
            CommandLine::new("git", ["commit", "-m", "it's a b", ""]).shown(),
            r"git commit -m 'it'\''s a b' ''"
        );
    }
}
