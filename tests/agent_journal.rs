//! Promises of the journal on real disks and by the command line: a full or read-only disk stops acting and
//! passes by itself, and people can read and check what was done.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Output;

use common::disk::Disk;
use openclaw_rating::agent::journal::{Journal, JournalError, Options, Reader};
use openclaw_rating::agent::types::{Entry, IncidentId, Phase, UnixMs};
use tempfile::TempDir;

const CONFIG: &str = "[state]\ndirectory = \".\"\n[[policy]]\nname = \"api\"\nrate = \"10/s\"\n";
const AT: UnixMs = UnixMs(1_772_600_767_089);

fn signal(detail: &str) -> Entry {
    Entry::Signal { signal: "region_unreachable".to_owned(), raised: true, detail: detail.to_owned() }
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory, Options::default()).unwrap()
}

fn kind(error: &JournalError) -> ErrorKind {
    match error {
        JournalError::Disk { source, .. } => source.kind(),
        error => panic!("{error}"),
    }
}

fn lines(directory: &Path) -> Vec<u64> {
    Reader::open(directory).unwrap().map(|item| item.unwrap().1.sequence).collect()
}

#[test]
fn a_full_disk_fails_the_append_and_room_mends_it() {
    let Some(disk) = Disk::mount() else { return };
    let directory = disk.path().join("journal");
    let mut journal = open(&directory);
    // Not a whole number of pages, so that part of a line still fits.
    assert_eq!(journal.append(AT, None, &signal(&"x".repeat(1000))).unwrap(), 1);
    let filler = disk.fill();
    for _ in 0..2 {
        let error = journal.append(AT, None, &signal(&"y".repeat(9000))).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::StorageFull);
        assert!(error.may_pass() && error.to_string().contains("make room"), "{error}");
        assert_eq!(lines(&directory), [1]);
    }
    fs::remove_file(filler).unwrap();
    // Shorter than what had to be taken back.
    assert_eq!(journal.append(AT, None, &signal("y")).unwrap(), 2);
    drop(journal);
    assert_eq!(lines(&directory), [1, 2]);
    assert!(open(&directory).torn().is_none());
}

#[test]
fn a_torn_line_on_a_full_disk_waits_for_room_to_be_kept_aside() {
    let Some(disk) = Disk::mount() else { return };
    let directory = disk.path().join("journal");
    open(&directory).append(AT, None, &signal("sound")).unwrap();
    let file = directory.join("journal-000001.jsonl");
    File::options().append(true).open(&file).unwrap().write_all(b"{\"seq\":2,\"at\":17").unwrap();
    let filler = disk.fill();
    let mut journal = open(&directory);
    assert_eq!(journal.torn().unwrap().kept_in, None);
    let error = journal.append(AT, None, &signal("next")).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::StorageFull);
    assert!(fs::read(&file).unwrap().ends_with(b"{\"seq\":2,\"at\":17"), "nothing is thrown away");
    fs::remove_file(filler).unwrap();
    assert_eq!(journal.append(AT, None, &signal("next")).unwrap(), 2);
    let kept_in = journal.torn().unwrap().kept_in.clone().unwrap();
    assert_eq!(fs::read(kept_in).unwrap(), b"{\"seq\":2,\"at\":17");
    assert_eq!(lines(&directory), [1, 2]);
}

#[test]
fn a_disk_that_became_read_only_fails_and_passes_by_itself() {
    let Some(disk) = Disk::mount() else { return };
    let mut journal = open(disk.path());
    disk.remount("ro");
    let error = journal.append(AT, None, &signal("a")).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ReadOnlyFilesystem);
    assert!(error.to_string().contains("read-only"), "{error}");
    disk.remount("rw");
    assert_eq!(journal.append(AT, None, &signal("a")).unwrap(), 1);
    drop(journal);
    disk.remount("ro");
    assert_eq!(lines(disk.path()), [1], "reading needs no lock and writes nothing");
    let error = Journal::open(disk.path(), Options::default()).unwrap_err();
    assert_eq!(kind(&error), ErrorKind::ReadOnlyFilesystem);
}

/// A state directory with two incidents in its journal.
fn state() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(&directory.path().join("journal"));
    let moved =
        |to| Entry::Moved { from: Phase::Watching, to, why: "2 of 3 \x1b[31mprobes\nfail".to_owned() };
    for (id, entry) in [
        ("eu-1", signal("timed out")),
        ("eu-1", moved(Phase::Suspect)),
        ("eu-1", moved(Phase::Recovered)),
        ("us-2", signal("refused")),
    ] {
        journal.append(AT, Some(&IncidentId(id.to_owned())), &entry).unwrap();
    }
    fs::write(directory.path().join("openclaw-rating.toml"), CONFIG).unwrap();
    directory
}

fn run(directory: &Path, arguments: &str) -> (Output, String, String) {
    let output = common::program::command(directory).args(arguments.split(' ')).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn the_journal_is_shown_to_people_and_to_programs_while_the_server_has_it() {
    let directory = state();
    let _writer = open(&directory.path().join("journal"));
    let (output, out, _) = run(directory.path(), "audit show --incident eu-1");
    assert!(output.status.success());
    assert_eq!(out.lines().count(), 3);
    let second =
        "2026-03-04 05:06:07.089Z  #2  eu-1  from watching to suspect: 2 of 3 \u{fffd}[31mprobes fail";
    assert_eq!(out.lines().nth(1), Some(second));
    let (_, out, _) = run(directory.path(), "audit show --json");
    let values: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((values.len(), &values[3]["incident"]), (4, &"us-2".into()));
    assert_eq!(values[0]["entry"]["detail"], "timed out");
    let (_, out, err) = run(directory.path(), "audit show --since 1h");
    assert!(out.is_empty() && err.contains("no such lines"), "{out}{err}");
    let (_, out, _) = run(directory.path(), "audit show --since 2026-03-04T05:06:07Z --dir journal");
    assert_eq!(out.lines().count(), 4);
}

#[test]
fn verify_counts_what_is_sound_and_names_the_first_fault() {
    let directory = state();
    let (output, out, _) = run(directory.path(), "audit verify");
    assert!(output.status.success() && out.contains("4 lines in 1 file are sound"), "{out}");
    let file = directory.path().join("journal/journal-000001.jsonl");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("refused", "reviled")).unwrap();
    let (output, out, err) = run(directory.path(), "audit verify --dir journal");
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("3 lines in 1 file are sound"), "{out}");
    assert!(err.contains("journal-000001.jsonl, line 4: it was changed"), "{err}");
    let (output, out, err) = run(directory.path(), "audit show");
    assert!(!output.status.success() && out.lines().count() == 3 && err.contains("line 4"), "{out}{err}");
    let (output, _, err) = run(directory.path(), "audit verify --dir nowhere");
    assert!(!output.status.success() && err.contains("no journal in nowhere"), "{err}");
    for asked in ["audit show", "report eu-1"] {
        let (output, out, err) = run(directory.path(), &format!("{asked} --dir nowhere"));
        assert!(!output.status.success() && out.is_empty(), "{asked}");
        assert_eq!(err, "there is no journal in nowhere\n", "{asked}");
    }
    fs::remove_file(&file).unwrap();
    let (output, _, err) = run(directory.path(), "audit show");
    assert!(!output.status.success() && err.contains("lines were taken from the end"), "{err}");
    fs::write(directory.path().join("openclaw-rating.toml"), "[state").unwrap();
    let (_, _, err) = run(directory.path(), "audit verify");
    assert!(err.contains("check-config") && err.contains("/var/lib/openclaw-rating/journal"), "{err}");
}

#[test]
fn verify_misses_what_was_taken_from_the_beginning() {
    let directory = state();
    let file = |number: u32| directory.path().join(format!("journal/journal-{number:06}.jsonl"));
    let text = fs::read_to_string(file(1)).unwrap();
    fs::write(file(2), text.split_once('\n').unwrap().1).unwrap();
    fs::remove_file(file(1)).unwrap();
    let (output, _, err) = run(directory.path(), "audit verify");
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("begins here, with number 2") && err.contains("taken away"), "{err}");
}

#[test]
fn a_report_is_written_from_the_journal_alone() {
    let directory = state();
    let (output, out, err) = run(directory.path(), "report eu-1");
    assert!(output.status.success() && out.contains("no plots"), "{out}{err}");
    let html = fs::read(directory.path().join("reports/eu-1.html")).unwrap();
    assert!(fs::read_to_string(directory.path().join("reports/eu-1.md")).unwrap().contains("# Region"));
    let (output, ..) = run(directory.path(), "report eu-1 --dir journal --out elsewhere");
    assert!(output.status.success());
    assert_eq!(fs::read(directory.path().join("elsewhere/eu-1.html")).unwrap(), html);
    let (output, _, err) = run(directory.path(), "report eu-7");
    assert!(!output.status.success() && err.contains("eu-7") && err.contains("audit show"), "{err}");
    let (output, _, err) = run(directory.path(), "report ../../etc/x");
    assert!(!output.status.success() && err.contains("no incident's id"), "{err}");
}
