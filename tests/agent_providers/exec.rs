//! The operator's own command.

use std::path::Path;
use std::time::Duration;

use openclaw_rating::agent::command::CommandLine;
use openclaw_rating::agent::traffic::{ExecProvider, TrafficError, TrafficProvider, Visibility, Written};

use crate::common::support::{assert_says, record};

const NAME: &str = "www.example.com";
/// Keeps the record in a file, and compares before it writes.
const SCRIPT: &str = r#"
    [ "$OPENCLAW_NAME/$OPENCLAW_TYPE/$OPENCLAW_TTL_S" = www.example.com/A/60 ] || exit 9
    case "$OPENCLAW_ACTION" in
        read) cat record ;;
        write) [ "$(cat record)" = "$OPENCLAW_EXPECTED" ] || { echo 'not as expected' >&2; exit 3; }
               echo "$OPENCLAW_WANTED" > record ;;
        visible) [ -e shown ] || { echo 'not in the cache yet' >&2; exit 4; } ;;
    esac"#;

fn provider(directory: &Path, script: &str) -> ExecProvider {
    let mut command = CommandLine::new("/bin/sh", ["-c", script]);
    command.directory = Some(directory.to_owned());
    command.timeout = Duration::from_secs(5);
    ExecProvider { command, name: NAME.to_owned(), kind: "A".to_owned(), ttl_s: 60 }
}

#[test]
fn a_command_reads_writes_and_tells_when_it_shows() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("record"), "192.0.2.1\n").unwrap();
    let mut provider = provider(directory.path(), SCRIPT);
    let (before, after) = (record(NAME, &["192.0.2.1"]), record(NAME, &["198.51.100.1"]));
    assert_eq!(provider.write(&before, &after).unwrap(), Written::Changed);
    assert_eq!(provider.read().unwrap().values, ["198.51.100.1"]);
    let pending = Visibility::Pending("not in the cache yet".to_owned());
    assert_eq!(provider.visible(&after).unwrap(), pending);
    std::fs::write(directory.path().join("shown"), "").unwrap();
    assert_eq!(provider.visible(&after).unwrap(), Visibility::Shown);
    let plan = provider.plan(&before, &after);
    assert_eq!(plan.len(), 3);
    assert_says(
        &plan[1],
        &["OPENCLAW_ACTION='write'", "OPENCLAW_EXPECTED='192.0.2.1'", "OPENCLAW_WANTED='198.51.100.1'"],
    );
}

#[test]
fn a_command_that_finds_something_else_stops_the_switch() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("record"), "203.0.113.9\n").unwrap();
    let mut provider = provider(directory.path(), SCRIPT);
    let error = provider.put(&record(NAME, &["192.0.2.1"]), &record(NAME, &["198.51.100.1"])).unwrap_err();
    assert!(matches!(&error, TrafficError::Conflict { found, .. } if found.values == ["203.0.113.9"]));
    assert_says(&error.to_string(), &["not as expected", "failover plan"]);
}

#[test]
fn a_command_that_fails_hangs_or_says_nothing_is_reported_with_its_last_words() {
    let directory = tempfile::tempdir().unwrap();
    let failed = provider(directory.path(), "echo no such zone >&2; exit 2").read().unwrap_err();
    assert_says(&failed.to_string(), &["no such zone", "exit status: 2", "by hand"]);
    let silent = provider(directory.path(), "exit 0").read().unwrap_err();
    assert_says(&silent.to_string(), &["does not print values", "OPENCLAW_ACTION=read"]);
    let mut hanging = provider(directory.path(), "echo connecting >&2; sleep 60");
    hanging.command.timeout = Duration::from_millis(200);
    let error = hanging.read().unwrap_err();
    assert!(error.may_have_happened());
    assert_says(&error.to_string(), &["killed", "connecting"]);
    let mut missing = provider(directory.path(), "");
    missing.command.program = "/nonexistent".into();
    assert_says(
        &missing.visible(&record(NAME, &["192.0.2.1"])).unwrap_err().to_string(),
        &["/nonexistent", "Check"],
    );
}
