//! Promises of the state directory: a restart refills nothing, and no disk stops the server.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::program::Program;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
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
fn restart(mut program: Program, meanwhile: impl FnOnce(&Path)) -> Program {
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

/// Else starts that follow each other would drift ahead of the clock, by which a start that finds no promise begins.
#[test]
fn a_stop_leaves_no_promise_far_ahead_of_the_clock() {
    let mut program = Program::start(CONFIG);
    let promised = |program: &Program| -> u64 {
        fs::read_to_string(program.directory().join("state/epoch")).unwrap().trim().parse().unwrap()
    };
    let running = promised(&program);
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), Some(0));
    assert!(promised(&program) + 400_000 < running, "{running}");
}

#[test]
fn a_key_with_limits_of_its_own_is_still_drained_after_a_restart() {
    let config = format!("{CONFIG}[[policy.override]]\nkey = \"k\"\nrate = \"1/day\"\nburst = 20\n");
    let mut program = Program::start(&config);
    drain(&program);
    assert!(allows(&program, "fast") && !allows(&program, "fast"), "twenty");
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(), Some(0));
    let program = Program::start_in(program.into_directory(), &config);
    assert!(!allows(&program, "fast"));
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
    type Spoil = fn(&Path);
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

#[test]
fn pipes_in_place_of_its_files_keep_the_server_neither_from_starting_nor_from_stopping() {
    let program = Program::start(CONFIG);
    drain(&program);
    let names = ["buckets.snapshot", "epoch", "hash.key"];
    let program = restart(program, |state| {
        for name in names {
            fs::remove_file(state.join(name)).unwrap();
            for name in [name.to_owned(), format!("{name}.new")] {
                mknodat(CWD, state.join(name), FileType::Fifo, Mode::from(0o600), 0).unwrap();
            }
        }
    });
    for name in names {
        assert!(program.said_before(&format!("{name}: it is not a regular file")), "{name}");
    }
    assert!(allows(&program, "slow"));
    let state = program.directory().join("state");
    restart(program, |_| {});
    assert!(!state.join("buckets.snapshot.new").exists());
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 3]).unwrap();
}

fn set_version(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[8] = 9;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_disk_that_takes_no_snapshot_is_told_in_health_and_metrics_and_checks_go_on() {
    let program = Program::start(CONFIG);
    let in_the_way = program.directory().join("state/buckets.snapshot.new");
    fs::create_dir(&in_the_way).unwrap();
    program.until("/health", |body| body.contains("the state directory cannot be written"));
    assert!(program.get("/health").starts_with("HTTP/1.1 200"));
    assert!(allows(&program, "slow"));
    let page = program.until("/metrics", |_| true);
    assert!(!page.contains("openclaw_snapshots_total{result=\"failed\"} 0\n"), "{page}");
    program.until_logged("buckets.snapshot");
    fs::remove_dir(in_the_way).unwrap();
    program.until("/health", |body| body.contains("\"warnings\":[]"));
}

#[test]
fn a_broken_key_is_kept_aside_and_costs_the_buckets_once() {
    let program = Program::start(CONFIG);
    let program = restart(program, |state| fs::write(state.join("hash.key"), "zz").unwrap());
    assert!(program.said_before("hash.key does not hold") && program.said_before("hash.key.bad"));
    assert!(program.get("/health").contains("the state directory cannot be written"));
    drain(&program);
    program.until("/health", |body| body.contains("\"warnings\":[]"));
    let program = restart(program, |state| {
        assert_eq!(fs::read(state.join("hash.key.bad")).unwrap(), b"zz");
    });
    assert!(program.said_before("restored 1 of") && !allows(&program, "slow"));
}

#[test]
fn no_snapshot_is_good_before_its_key_is_stored() {
    let program = Program::start(CONFIG);
    let program = restart(program, |state| {
        fs::remove_file(state.join("hash.key")).unwrap();
        fs::create_dir(state.join("hash.key.new")).unwrap();
    });
    drain(&program);
    let page = program.until("/metrics", |page| !page.contains("result=\"failed\"} 0\n"));
    assert!(page.contains("openclaw_snapshots_total{result=\"written\"} 0\n"), "{page}");
    assert!(program.get("/health").contains("the state directory cannot be written"));
    fs::remove_dir(program.directory().join("state/hash.key.new")).unwrap();
    program.until("/health", |body| body.contains("\"warnings\":[]"));
    assert!(!allows(&restart(program, |_| {}), "slow"));
}

#[test]
fn a_directory_that_can_be_had_later_is_used_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let (in_the_way, beside) = (directory.path().join("state"), directory.path().join("beside"));
    fs::write(&in_the_way, "").unwrap();
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("epoch"), "5000000000000").unwrap();
    let program = Program::start_in(directory, CONFIG);
    drain(&program);
    program.until("/metrics", |page| {
        page.contains("openclaw_health_warning") && !page.contains("result=\"failed\"} 0\n")
    });
    renameat_with(CWD, &beside, CWD, &in_the_way, RenameFlags::EXCHANGE).unwrap();
    program.until("/health", |body| body.contains("\"warnings\":[]"));
    program.until_logged("can be used now");
    let promised = fs::read_to_string(in_the_way.join("epoch")).unwrap();
    assert_eq!(promised, "5000000000000", "a promise is never taken back");
    assert!(!allows(&restart(program, |_| {}), "slow"));
}

#[test]
fn a_directory_that_is_moved_away_is_made_anew_with_all_that_a_start_needs() {
    let program = Program::start(CONFIG);
    drain(&program);
    let state = program.directory().join("state");
    fs::rename(&state, program.directory().join("aside")).unwrap();
    program.until_logged("the state directory was removed or replaced");
    let program = restart(program, |state| {
        assert!(["epoch", "hash.key"].iter().all(|name| state.join(name).exists()));
    });
    assert!(program.said_before("restored 1 of") && !allows(&program, "slow"));
}

#[test]
fn a_server_that_outlives_the_other_on_its_directory_takes_it_over() {
    let mut first = Program::start(CONFIG);
    let state = first.directory().join("state");
    let config = CONFIG.replace("\"state\"", &format!("{state:?}"));
    let second = Program::start(&config);
    assert!(second.get("/health").contains("the state directory cannot be written"));
    drain(&second);
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code(), Some(0));
    second.until("/health", |body| body.contains("\"warnings\":[]"));
    let mut second = second;
    second.signal(Signal::TERM);
    assert_eq!(second.exit_code(), Some(0));
    assert!(!allows(&Program::start_in(second.into_directory(), &config), "slow"));
}

#[test]
fn a_second_server_on_one_directory_says_so_and_does_not_touch_it() {
    let first = Program::start(CONFIG);
    drain(&first);
    let state = first.directory().join("state");
    let config = CONFIG.replace("\"state\"", &format!("{state:?}")).replace("\"1s\"", "\"1h\"");
    let mut second = Program::start(&config);
    assert!(second.said_before("in use by another process: a second server"));
    assert!(allows(&second, "slow"));
    assert!(second.get("/health").contains("the state directory cannot be written"));
    assert!(first.get("/health").contains("\"warnings\":[]"));
    // It does not even when it ends last.
    let mut first = first;
    for program in [&mut first, &mut second] {
        program.signal(Signal::TERM);
        assert_eq!(program.exit_code(), Some(0));
    }
    assert!(!allows(&Program::start_in(first.into_directory(), CONFIG), "slow"));
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
