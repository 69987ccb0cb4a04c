//! Promises of the program's output: a reader may go, and a disk may be full.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Output, Stdio};

use common::program::{PATIENCE, command};
use openclaw_rating::agent::journal::{Journal, Options};
use openclaw_rating::agent::types::{Entry, IncidentId, UnixMs};

const CONFIG: &str = "[state]\ndirectory = \".\"\n[[policy]]\nname = \"api\"\nrate = \"10/s\"\n";
/// Each prints something in [`state`].
const PRINTING: [&str; 7] =
    ["check-config", "doctor", "audit show", "audit show --json", "audit verify", "report eu-1", "keygen"];
/// Each complains there.
const COMPLAINING: [&str; 4] =
    ["check-config --set x.y=1", "audit verify --dir nowhere", "report eu-7", "keygen openclaw-rating.toml"];

/// A state directory with an incident in its journal.
fn state() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&directory.path().join("journal"), Options::default()).unwrap();
    let entry = Entry::Signal { signal: "tokens_low".to_owned(), raised: true, detail: "x".to_owned() };
    for _ in 0..3 {
        journal.append(UnixMs(1_772_600_767_089), Some(&IncidentId("eu-1".to_owned())), &entry).unwrap();
    }
    fs::write(directory.path().join("openclaw-rating.toml"), CONFIG).unwrap();
    directory
}

fn run(directory: &Path, arguments: &str, stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = command(directory);
    let child = command.args(arguments.split(' ')).stdout(stdout).stderr(stderr).spawn().unwrap();
    child.wait_with_output().unwrap()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn output_that_is_lost_is_a_failure_and_is_told() {
    let directory = state();
    for arguments in PRINTING {
        let output = run(directory.path(), arguments, full(), Stdio::piped());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {told}");
        assert!(told.contains("cannot write the output: No space left"), "{arguments}: {told}");
        let output = run(directory.path(), arguments, full(), full());
        assert_eq!(output.status.code(), Some(1), "{arguments}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let directory = state();
    for arguments in PRINTING {
        let output = run(directory.path(), arguments, closed(), Stdio::piped());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.is_empty(), "{arguments}: {told}");
    }
}

#[test]
fn complaints_that_nobody_hears_still_end_with_their_code() {
    let directory = state();
    for arguments in COMPLAINING {
        for nobody in [full as fn() -> Stdio, closed] {
            let output = run(directory.path(), arguments, Stdio::null(), nobody());
            assert_eq!(output.status.code(), Some(1), "{arguments}");
        }
    }
    let output = run(directory.path(), "--set server.threads=0", Stdio::null(), full());
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_server_whose_log_cannot_be_written_serves() {
    let directory = state();
    let socket = directory.path().join("check.sock");
    let listen = format!("server.listen=unix:{}", socket.display());
    let mut command = command(directory.path());
    command.env_remove("OPENCLAW_RATING__SERVER__LISTEN").stderr(full());
    let small = ["--set", "server.threads=1", "--set", "table.capacity=1000", "--set", &listen];
    let mut server = command.args(small).spawn().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    let answer = loop {
        if let Ok(stream) = std::os::unix::net::UnixStream::connect(&socket) {
            break common::program::answer_to(stream, "/health");
        }
        assert!(server.try_wait().unwrap().is_none() && std::time::Instant::now() < until);
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    rustix::process::kill_process(rustix::process::Pid::from_child(&server), rustix::process::Signal::TERM)
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
