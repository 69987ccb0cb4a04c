//! Promises of the state directory: a restart refills nothing, and no disk stops the server.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::os::unix::fs::symlink;

use program::Program;
use rustix::process::Signal;

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
threads = 1
[table]
capacity = 1000
[state]
directory = "state"
snapshot_interval = "1s"
[[policy]]
name = "slow"
rate = "1/day"
burst = 10
[[policy]]
name = "fast"
rate = "1000000/s"
burst = 10
"#;

fn drain(program: &Program) {
    for policy in ["slow", "fast"] {
        assert!(program.get(&format!("/v1/check/{policy}/k?cost=10")).starts_with("HTTP/1.1 200"));
    }
}

/// Stops it well, lets `meanwhile` look at its directory, and starts it there again.
fn restart(mut program: Program, meanwhile: impl FnOnce(&std::path::Path)) -> Program {
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), Some(0));
    let directory = program.into_directory();
    meanwhile(&directory.path().join("state"));
    Program::start_in(directory, CONFIG)
}

fn allows(program: &Program, policy: &str) -> bool {
    program.get(&format!("/v1/check/{policy}/k?cost=10")).starts_with("HTTP/1.1 200")
}

#[test]
fn a_drained_bucket_is_still_drained_after_a_restart_and_one_that_filled_meanwhile_is_full() {
    let program = Program::start(CONFIG);
    drain(&program);
    let program = restart(program, |_| {});
    assert!(!allows(&program, "slow") && allows(&program, "fast"));
    assert!(program.get("/metrics").contains("openclaw_snapshot_restored_buckets 1\n"));
}

#[test]
fn a_process_that_was_killed_restores_the_last_snapshot() {
    let program = Program::start(CONFIG);
    drain(&program);
    program.until("/metrics", |page| page.contains("openclaw_snapshot_buckets 1\n"));
    program.signal(Signal::KILL);
    let mut program = program;
    program.exit_code();
    let program = Program::start_in(program.into_directory(), CONFIG);
    assert!(!allows(&program, "slow"));
}

#[test]
fn a_snapshot_that_is_torn_foreign_or_of_another_version_is_refused_in_words_and_the_server_starts() {
    type Spoil = fn(&std::path::Path);
    let spoils: [(Spoil, &str); 4] = [
        (|state| cut(&state.join("buckets.snapshot")), "torn"),
        (|state| fs::remove_file(state.join("hash.key")).unwrap(), "another cluster secret or hash key"),
        (|state| set_version(&state.join("buckets.snapshot")), "version 9"),
        (|state| fs::write(state.join("buckets.snapshot"), "hello").unwrap(), "no snapshot of"),
    ];
    for (spoil, words) in spoils {
        let program = Program::start(CONFIG);
        drain(&program);
        let program = restart(program, spoil);
        assert!(program.said_before(words), "{words}");
        assert!(allows(&program, "slow"), "{words}");
    }
}

fn cut(path: &std::path::Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 3]).unwrap();
}

fn set_version(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 9;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_full_disk_is_told_in_health_and_metrics_and_checks_go_on() {
    let program = Program::start(CONFIG);
    // The next snapshot is written through this to a device that is always full.
    symlink("/dev/full", program.directory().join("state/buckets.snapshot.new")).unwrap();
    program.until("/health", |body| body.contains("the state directory cannot be written"));
    assert!(program.get("/health").starts_with("HTTP/1.1 200"));
    assert!(allows(&program, "slow"));
    let page = program.until("/metrics", |_| true);
    assert!(!page.contains("openclaw_snapshots_total{result=\"failed\"} 0\n"), "{page}");
    program.until_logged("buckets.snapshot");
    program.until("/health", |body| body.contains("\"warnings\":[]"));
}

#[test]
fn a_limit_of_file_sizes_fails_snapshots_and_ends_nothing() {
    let program = Program::start(CONFIG);
    program.forbid_files();
    program.until_logged("File too large");
    program.until("/health", |body| body.contains("the state directory cannot be written"));
    assert!(allows(&program, "fast"));
}

#[test]
fn a_directory_that_cannot_be_had_is_told_and_the_server_starts() {
    let program = Program::start(&CONFIG.replace("\"state\"", "\"/proc/nowhere\""));
    assert!(program.said_before("/proc/nowhere"));
    assert!(allows(&program, "slow"));
    assert!(program.get("/health").contains("the state directory cannot be written"));
}
