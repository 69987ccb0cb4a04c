//! A service manager of the tests' own: it speaks the notification protocol, keeps descriptors, and starts
//! the real program with them again.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts, watches and restarts one program.
pub(crate) struct Manager {
    directory: tempfile::TempDir,
    socket: UnixDatagram,
    /// Lines of messages that nobody has asked for yet.
    said: VecDeque<String>,
    /// What is kept, by name.
    pub(crate) kept: Vec<(String, OwnedFd)>,
    child: Option<Child>,
    watchdog: Option<Duration>,
    is_journal: bool,
}

impl Manager {
    pub(crate) fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("openclaw-rating.toml"), config).unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self {
            directory,
            socket,
            said: VecDeque::new(),
            kept: Vec::new(),
            child: None,
            watchdog: None,
            is_journal: false,
        }
    }

    pub(crate) fn with_watchdog(mut self, time: Duration) -> Self {
        self.watchdog = Some(time);
        self
    }

    /// Has it log as to the journal.
    pub(crate) fn with_journal(mut self) -> Self {
        self.is_journal = true;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the program with all that is kept, and waits until it is ready.
    pub(crate) fn start(&mut self) {
        let handed: Vec<(String, OwnedFd)> =
            self.kept.iter().map(|(name, kept)| (name.clone(), kept.try_clone().unwrap())).collect();
        // The shell moves each to its place and then becomes the program, so that the process is the one named.
        let mut script = String::new();
        for (place, (_, descriptor)) in handed.iter().enumerate() {
            fcntl_setfd(descriptor, FdFlags::empty()).unwrap();
            script += &format!("exec {}<&{}; ", 200 + place, descriptor.as_raw_fd());
        }
        for place in 0..handed.len() {
            script += &format!("exec {}<&{} {}<&-; ", 3 + place, 200 + place, 200 + place);
        }
        let names: Vec<&str> = handed.iter().map(|(name, _)| name.as_str()).collect();
        script += &format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES='{}'; ",
            handed.len(),
            names.join(":")
        );
        script += "exec \"$0\"";
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_openclaw-rating")]).env_clear();
        command.current_dir(self.directory.path()).env("NOTIFY_SOCKET", self.path("notify"));
        if let Some(watchdog) = self.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let log = std::fs::File::options().append(true).create(true).open(self.path("log")).unwrap();
        if self.is_journal {
            let found = rustix::fs::fstat(&log).unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", found.st_dev, found.st_ino));
        }
        self.child = Some(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
        self.until("READY=1");
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    /// Waits for the end of the program, hearing what it says meanwhile.
    pub(crate) fn until_ended(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.child.as_mut().unwrap().try_wait().unwrap().is_none() {
            self.hear();
            assert!(Instant::now() < until, "it does not end:\n{}", self.log());
        }
        while self.hear() {}
        self.child = None;
    }

    /// Waits for a line of a message that begins so, and gives it back with all lines before it.
    pub(crate) fn until(&mut self, begin: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            while let Some(line) = self.said.pop_front() {
                let found = line.starts_with(begin);
                before.push(line);
                if found {
                    return before;
                }
            }
            self.hear();
            assert!(Instant::now() < until, "no {begin} after {before:?}\n{}", self.log());
        }
    }

    /// How many lines say so within a time.
    pub(crate) fn count(&mut self, wanted: &str, within: Duration) -> usize {
        let until = Instant::now() + within;
        while Instant::now() < until {
            self.hear();
        }
        self.said.drain(..).filter(|line| line == wanted).count()
    }

    /// Takes one message; whether there was one.
    fn hear(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let Ok(received) = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) else {
            return false;
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let text = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
        if lines.iter().any(|line| line == "FDSTOREREMOVE=1") {
            self.kept.retain(|(kept, _)| *kept != name);
        }
        if lines.iter().any(|line| line == "FDSTORE=1") {
            self.kept.extend(descriptors.into_iter().map(|descriptor| (name.clone(), descriptor)));
        }
        self.said.extend(lines);
        true
    }

    /// The names of what is kept, each once.
    pub(crate) fn kept_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A descriptor as a `.socket` unit would have it.
pub(crate) fn socket_unit(name: &str, socket: impl Into<OwnedFd>) -> (String, OwnedFd) {
    (name.to_owned(), socket.into())
}

pub(crate) fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}
