//! The real program in a directory of its own, killed when dropped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Program {
    child: Child,
    log: Mutex<Receiver<String>>,
    address: String,
    directory: Option<tempfile::TempDir>,
    /// What was logged before it served.
    before: Vec<String>,
}

impl Program {
    /// Starts it with this configuration file, and returns when it serves.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    pub(crate) fn start_in(directory: tempfile::TempDir, config: &str) -> Self {
        Self::launch(directory, Some(config), &[])
    }

    /// Starts it in a directory, with a configuration file there or none.
    pub(crate) fn launch(directory: tempfile::TempDir, config: Option<&str>, arguments: &[&str]) -> Self {
        if let Some(config) = config {
            fs::write(directory.path().join("openclaw-rating.toml"), config).unwrap();
        }
        let mut child = command(directory.path()).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut program = Self {
            child,
            log: Mutex::new(log),
            address: String::new(),
            directory: Some(directory),
            before: vec![],
        };
        let greeting = program.greeting();
        let address = greeting.split(" on ").nth(1).and_then(|rest| rest.split([',', ';']).next());
        program.address = address.unwrap().to_owned();
        program
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().unwrap().path()
    }

    /// Its directory, once it has ended.
    pub(crate) fn into_directory(mut self) -> tempfile::TempDir {
        self.directory.take().unwrap()
    }

    fn greeting(&mut self) -> String {
        loop {
            let line = self.until_logged("");
            if line.contains("serving ") {
                return line;
            }
            self.before.push(line);
        }
    }

    /// Whether it said so before it served.
    pub(crate) fn said_before(&self, words: &str) -> bool {
        self.before.iter().any(|line| line.contains(words))
    }

    /// Whether the first line of its log said that it serves.
    pub(crate) fn said_nothing_before(&self) -> bool {
        self.before.is_empty()
    }

    /// The next line of the log that contains `words`.
    pub(crate) fn until_logged(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .log
                .lock()
                .unwrap()
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("{words:?} is not logged after {:?}", self.before));
            if line.contains(words) {
                return line;
            }
        }
    }

    /// What was logged since the last look.
    pub(crate) fn logged(&self) -> Vec<String> {
        self.log.lock().unwrap().try_iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Has every further write to a file fail, by RLIMIT_FSIZE.
    pub(crate) fn forbid_files(&self) {
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, none).unwrap();
    }

    pub(crate) fn reload(&self, config: &str) {
        fs::write(self.directory().join("openclaw-rating.toml"), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// The whole answer to a GET on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> String {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answer_to(stream, path)
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            let body = answer.split("\r\n\r\n").nth(1).unwrap_or("").to_owned();
            if wanted(&body) {
                return body;
            }
            assert!(Instant::now() < until, "{path} never said so, but\n{body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without the settings of whoever runs the tests.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openclaw-rating"));
    command.current_dir(directory).env_clear().env("OPENCLAW_RATING__SERVER__LISTEN", "127.0.0.1:0");
    command
}

/// The whole answer to a GET, after which the connection ends.
pub(crate) fn answer_to(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whether a metrics page says that the agent sees a region healthy.
pub(crate) fn sees_healthy(page: &str, region: &str) -> bool {
    let name = format!("region=\"{region}\"");
    page.lines().any(|line| {
        line.starts_with("openclaw_agent_standing{")
            && line.contains(&name)
            && line.contains("standing=\"healthy\"")
            && line.ends_with(" 1")
    })
}

/// Has promtool look at a metrics page, where it is installed.
pub(crate) fn promtool_finds_nothing(page: &str) {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        assert!(std::env::var_os("OPENCLAW_TESTS_REQUIRE_ALL").is_none(), "promtool is not installed");
        eprintln!("skipped: promtool (Debian package prometheus) is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
