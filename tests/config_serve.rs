//! Promises of the program around its configuration: start, reload, stop.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(20);
const PROGRAM: &str = env!("CARGO_BIN_EXE_openclaw-rating");

/// A server in a directory of its own; killed when dropped.
struct Server {
    child: Child,
    log: Receiver<String>,
    address: String,
    directory: tempfile::TempDir,
}

impl Server {
    fn start(file: Option<&str>, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        if let Some(text) = file {
            fs::write(directory.path().join("openclaw-rating.toml"), text).unwrap();
        }
        let mut child = command(directory.path())
            .args(["--set", "server.threads=1", "--set", "table.capacity=1000"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut server = Self { child, log, address: String::new(), directory };
        let greeting = server.until_logged("serving ");
        let address = greeting.split(" on ").nth(1).and_then(|rest| rest.split([',', ';']).next());
        server.address = address.unwrap().to_owned();
        server
    }

    /// The next line of the log that contains `words`.
    fn until_logged(&self, words: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left).unwrap_or_else(|_| panic!("{words:?} is not logged"));
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn get(&self, path: &str) -> String {
        answer_to(TcpStream::connect(&self.address).unwrap(), path)
    }

    fn rewrite(&self, text: &str) {
        fs::write(self.directory.path().join("openclaw-rating.toml"), text).unwrap();
        self.signal(Signal::HUP);
    }

    fn exit_code(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, without the settings of whoever runs the tests.
fn command(directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(directory).env_clear().env("OPENCLAW_RATING__SERVER__LISTEN", "127.0.0.1:0");
    command
}

fn answer_to(mut stream: impl std::io::Read + std::io::Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn check_config(file: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("openclaw-rating.toml"), file).unwrap();
    command(directory.path()).arg("check-config").output().unwrap()
}

fn policy(rate: &str, burst: u32) -> String {
    format!("[[policy]]\nname = \"p\"\nrate = \"{rate}\"\nburst = {burst}\n")
}

#[test]
fn without_a_file_one_line_says_what_is_served_and_what_to_try() {
    let directory = tempfile::tempdir().unwrap();
    let output = command(directory.path()).arg("check-config").output().unwrap();
    assert!(output.status.success());

    let mut server = Server::start(None, &[]);
    assert!(server.get("/v1/check/default/alice").starts_with("HTTP/1.1 200 OK"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn check_config_fails_on_any_problem_and_prints_all_of_them() {
    let output = check_config(&format!("{}kil = \"deny\"\n[server]\nthreads = 0\n", policy("1/s", 1)));
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(
        report.contains("openclaw-rating.toml:5:1") && report.contains("openclaw-rating.toml:7:11"),
        "{report}"
    );

    let output = check_config(&policy("1/s", 7));
    assert!(output.status.success());
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("1/s, burst 7"), "{summary}");
}

#[test]
fn a_bad_configuration_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let output = command(directory.path()).args(["--set", "server.threads=0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("from 1 to 512"));
}

#[test]
fn a_reload_changes_limits_and_keeps_levels() {
    let server = Server::start(Some(&policy("1/day", 10)), &[]);
    assert!(server.get("/v1/check/p/alice?cost=9").contains("\"remaining\":1,"));
    server.rewrite(&policy("1/day", 100));
    server.until_logged("reloaded");
    // The data thread takes the policies up in its next turn.
    let until = Instant::now() + PATIENCE;
    while !server.get("/v1/check/p/alice?cost=0").contains("\"limit\":100,\"remaining\":91,") {
        assert!(Instant::now() < until, "{}", server.get("/v1/check/p/alice?cost=0"));
    }
}

#[test]
fn a_bad_file_is_refused_whole_and_the_old_one_stays() {
    let server = Server::start(Some(&policy("1/day", 10)), &[]);
    server.rewrite(&format!("{}[[policy]]\nname = \"new\"\nrate = \"wrong\"\n", policy("1/day", 100)));
    server.until_logged("not usable");
    server.until_logged("the old policies stay in force");
    assert!(server.get("/v1/check/p/alice").contains("\"limit\":10,"));
    assert!(server.get("/v1/check/new/alice").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_reload_says_what_it_cannot_change() {
    let server = Server::start(Some(&policy("1/s", 1)), &[]);
    server.rewrite(&format!("{}[node]\nregion = \"elsewhere\"\n", policy("1/s", 1)));
    assert!(server.until_logged("next restart").contains("[node]"));
    assert!(server.get("/health").contains("\"region\":\"local\""));
}

#[test]
fn a_lame_duck_is_unhealthy_and_still_answers() {
    let mut server = Server::start(None, &["--set", "shutdown.lame_duck=1h"]);
    server.signal(Signal::TERM);
    server.until_logged("stopping");
    assert!(server.get("/health").starts_with("HTTP/1.1 503"));
    assert!(server.get("/v1/check/default/alice").starts_with("HTTP/1.1 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), Some(0));
}

#[test]
fn a_unix_socket_is_served_beside_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("check.sock");
    let listen = format!("server.listen=[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let server = Server::start(None, &["--set", &listen]);
    let answer = answer_to(UnixStream::connect(&path).unwrap(), "/v1/check/default/alice");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"remaining\":199,"), "{answer}");
    assert!(server.get("/v1/check/default/alice?cost=0").starts_with("HTTP/1.1 200 OK"));
}
