//! Promises of a journal in a directory: nothing is lost or changed unnoticed, and it goes on after a crash.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::format::{Chain, Hash, MAX_LINE_BYTES};
use super::*;
use crate::agent::types::{
    DAY_MS, DOWN_PREFIX, Entry, FROZEN, IncidentId, Phase, RecordState, SPENT_PREFIX, Step, UnixMs,
};

const SMALL: Options = Options { max_file_bytes: 700, max_files: 3 };

fn incident(name: &str) -> IncidentId {
    IncidentId(name.to_owned())
}

fn moved(to: Phase) -> Entry {
    Entry::Moved { from: Phase::Watching, to, why: "because".to_owned() }
}

fn intent(step: Step, attempt: u32) -> Entry {
    Entry::Intent { step, attempt, calls: vec!["GET /".to_owned()], expected: None, wanted: None }
}

fn outcome(step: Step, attempt: u32) -> Entry {
    Entry::Outcome { step, attempt, done: true, detail: String::new() }
}

fn signal(detail: &str) -> Entry {
    Entry::Signal { signal: "own_disk".to_owned(), raised: true, detail: detail.to_owned() }
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory, Options::default()).unwrap()
}

/// A journal of `lines` signals.
fn filled(directory: &Path, lines: usize, options: Options) {
    let mut journal = Journal::open(directory, options).unwrap();
    for number in 0..lines {
        journal.append(UnixMs(number as u64), None, &signal(&number.to_string())).unwrap();
    }
}

fn first_file(directory: &Path) -> PathBuf {
    names::list(directory).unwrap()[0].path.clone()
}

fn sound_lines(directory: &Path) -> Vec<Line> {
    Reader::open(directory).unwrap().map(|item| item.unwrap().1).collect()
}

fn fault(directory: &Path) -> Option<Broken> {
    match check(directory).unwrap().fault {
        Some(ReadError::Broken(broken)) => Some(broken),
        None => None,
        Some(error) => panic!("{error}"),
    }
}

fn arbitrary_entry() -> impl Strategy<Value = Entry> {
    let state = (any::<String>(), any::<u32>(), prop::collection::vec(any::<String>(), 0..3));
    let state = state.prop_map(|(name, ttl_s, values)| RecordState {
        kind: "A".to_owned(),
        name,
        ttl_s,
        values,
        proxied: None,
        weights: vec![ttl_s],
    });
    prop_oneof![
        (any::<String>(), any::<bool>(), any::<String>())
            .prop_map(|(signal, raised, detail)| { Entry::Signal { signal, raised, detail } }),
        (any::<u32>(), prop::collection::vec(any::<String>(), 0..3), prop::option::of(state)).prop_map(
            |(attempt, calls, wanted)| {
                let expected = wanted.clone();
                Entry::Intent { step: Step::WriteRecord, attempt, calls, expected, wanted }
            }
        ),
        any::<String>().prop_map(|why| Entry::Moved { from: Phase::Paged, to: Phase::AutoApproved, why }),
        (any::<String>(), any::<String>()).prop_map(|(command, who)| Entry::Command { command, who }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_read_back(
        at: u64,
        name in prop::option::of(any::<String>()),
        entry in arbitrary_entry(),
        hash: [u8; 32],
        sequence in 1..u64::MAX,
    ) {
        let chain = Chain { sequence, hash: Hash(hash) };
        let incident = name.map(IncidentId);
        let (bytes, after) = chain.encode(UnixMs(at), incident.as_ref(), &entry).unwrap();
        let (line, followed) = chain.follow(&bytes).unwrap();
        prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(followed, after);
        let logged = Logged::Known(entry);
        prop_assert_eq!(line, Line { sequence: sequence + 1, at: UnixMs(at), incident, logged });
    }

    #[test]
    fn bytes_from_anywhere_are_refused_and_never_a_panic(bytes: Vec<u8>) {
        prop_assert!(Chain::START.follow(&bytes).is_err());
        prop_assert!(Chain::begin(&bytes).is_err());
    }
}

#[test]
fn a_journal_that_is_removed_while_it_is_in_use_takes_no_more_lines() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    journal.append(UnixMs(1), None, &signal("a")).unwrap();
    fs::remove_file(first_file(directory.path())).unwrap();
    for _ in 0..2 {
        let error = journal.append(UnixMs(2), None, &signal("b")).unwrap_err();
        assert!(error.to_string().contains("removed while in use"), "{error}");
    }
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3, Options::default());
    let path = first_file(directory.path());
    let sound = fs::read(&path).unwrap();
    let second_end =
        sound.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).nth(1).unwrap();
    let (mut broken, mut unfinished) = (0, 0);
    for at in 0..sound.len() {
        // The other case, another digit, a line end, a hole.
        for change in [sound[at] ^ 0x20, sound[at] ^ 1, b'\n', 0] {
            let mut bytes = sound.clone();
            bytes[at] = change;
            if bytes == sound {
                continue;
            }
            fs::write(&path, &bytes).unwrap();
            assert!(fault(directory.path()).is_some(), "byte {at} changed to {change}");
            // Without the head it may be what a crash leaves, and only in the last line.
            let Some(head) = head::read(directory.path()).unwrap() else { panic!("no head") };
            fs::remove_file(directory.path().join("head")).unwrap();
            let checked = check(directory.path()).unwrap();
            match checked.fault {
                Some(_) => broken += 1,
                None => {
                    // A hole in place of the line end before it makes one line of the last two.
                    let lines = if at == second_end { 1 } else { 2 };
                    assert!(checked.unfinished.is_some() && checked.lines == lines, "byte {at}");
                    unfinished += 1;
                }
            }
            head::write(directory.path(), head);
        }
    }
    assert!(broken > 3 * unfinished && unfinished > 0, "{broken} {unfinished}");
}

#[test]
fn lines_taken_out_put_in_or_swapped_are_noticed_with_their_place() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 5, Options::default());
    let path = first_file(directory.path());
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for at in 0..5 {
        let mut less = lines.clone();
        less.remove(at);
        let mut more = lines.clone();
        more.insert(at, lines[at]);
        let mut swapped = lines.clone();
        swapped.swap(at, (at + 1) % 5);
        for (what, changed) in [("out", less), ("in", more), ("swapped", swapped)] {
            fs::write(&path, changed.concat()).unwrap();
            let broken = fault(directory.path()).unwrap_or_else(|| panic!("{what} {at}"));
            assert!(broken.path == path && broken.line <= at as u64 + 2, "{what} {at}: {broken}");
            assert!(matches!(
                Journal::open(directory.path(), Options::default()),
                Err(JournalError::Broken { .. })
            ));
        }
    }
}

#[test]
fn a_journal_that_starts_again_with_other_lines_is_noticed() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(one.path(), 3, Options::default());
    let mut journal = open(two.path());
    for _ in 0..3 {
        journal.append(UnixMs(9), None, &signal("forged")).unwrap();
    }
    drop(journal);
    fs::copy(first_file(two.path()), first_file(one.path())).unwrap();
    assert_eq!(fault(one.path()).unwrap().fault, Fault::NotTheHead);
}

#[test]
fn a_line_with_a_hash_of_its_own_does_not_fit_between_others() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(one.path(), 4, Options::default());
    let mut journal = open(two.path());
    for _ in 0..4 {
        journal.append(UnixMs(9), None, &signal("forged")).unwrap();
    }
    drop(journal);
    let read = |directory: &Path| fs::read_to_string(first_file(directory)).unwrap();
    let (sound, forged) = (read(one.path()), read(two.path()));
    for at in 0..3 {
        let mut lines: Vec<_> = sound.split_inclusive('\n').collect();
        lines[at] = forged.split_inclusive('\n').nth(at).unwrap();
        fs::write(first_file(one.path()), lines.concat()).unwrap();
        let broken = fault(one.path()).unwrap();
        // The first line follows nothing: there the second one shows it.
        assert_eq!((broken.fault, broken.line), (Fault::NotChained, (at as u64 + 1).max(2)));
    }
}

#[test]
fn a_line_torn_at_any_byte_is_cut_off_kept_and_told() {
    let source = tempfile::tempdir().unwrap();
    filled(source.path(), 3, Options::default());
    let sound = fs::read(first_file(source.path())).unwrap();
    let whole = sound.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let last_begins = whole.clone().nth(1).unwrap();
    for end in last_begins + 1..sound.len() {
        let directory = tempfile::tempdir().unwrap();
        // The head is behind, as a crash leaves it: the third line was never durable.
        fs::write(directory.path().join("journal-000001.jsonl"), &sound[..end]).unwrap();
        let mut journal = open(directory.path());
        let torn = journal.torn().unwrap().clone();
        assert_eq!(torn.bytes, end - last_begins);
        assert_eq!(fs::read(torn.kept_in.unwrap()).unwrap(), &sound[last_begins..end]);
        assert_eq!(journal.append(UnixMs(7), None, &signal("goes on")).unwrap(), 3);
        drop(journal);
        assert_eq!(sound_lines(directory.path()).len(), 3);
        assert!(open(directory.path()).torn().is_none());
    }
}

#[test]
fn a_durable_line_that_is_gone_or_torn_is_no_crash() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3, Options::default());
    let path = first_file(directory.path());
    let sound = fs::read(&path).unwrap();
    for end in 0..sound.len() {
        fs::write(&path, &sound[..end]).unwrap();
        let broken = fault(directory.path()).unwrap();
        assert_eq!(broken.fault, Fault::CutShort { durable: 3 }, "{end}");
        assert!(Journal::open(directory.path(), Options::default()).is_err());
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(fault(directory.path()).unwrap().fault, Fault::CutShort { durable: 3 });
}

#[test]
fn a_broken_journal_is_refused_for_acting_and_can_still_be_read() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 4, Options::default());
    let path = first_file(directory.path());
    let text = fs::read_to_string(&path).unwrap().replacen("\"detail\":\"1\"", "\"detail\":\"7\"", 1);
    fs::write(&path, text).unwrap();
    let error = Journal::open(directory.path(), Options::default()).unwrap_err();
    assert!(!error.may_pass());
    let text = error.to_string();
    for part in [path.to_str().unwrap(), "line 2", "audit show", ".broken"] {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
    let items: Vec<_> = Reader::open(directory.path()).unwrap().collect();
    assert_eq!(items.iter().filter(|item| item.is_ok()).count(), 3);
    assert!(items[1].is_err() && items.len() == 4);
}

#[test]
fn files_follow_one_another_and_old_ones_go() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 40, SMALL);
    let files = names::list(directory.path()).unwrap();
    assert!(files.len() <= SMALL.max_files);
    assert!(files.iter().all(|file| fs::metadata(&file.path).unwrap().len() <= SMALL.max_file_bytes));
    let lines = sound_lines(directory.path());
    assert_eq!(lines[0].sequence, files[0].number);
    // Across a restart as well.
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    let last = lines.last().unwrap().sequence;
    assert_eq!(journal.append(UnixMs(99), None, &signal("next")).unwrap(), last + 1);
    drop(journal);
    // A file in the middle, and the first lines of the oldest, are missed.
    let files = names::list(directory.path()).unwrap();
    let kept = fs::read(&files[1].path).unwrap();
    fs::remove_file(&files[1].path).unwrap();
    assert!(fault(directory.path()).is_some());
    fs::write(&files[1].path, kept).unwrap();
    let first = fs::read_to_string(&files[0].path).unwrap();
    fs::write(&files[0].path, first.split_once('\n').unwrap().1).unwrap();
    assert!(matches!(fault(directory.path()).unwrap().fault, Fault::Sequence { .. }));
}

#[test]
fn lines_taken_from_the_beginning_are_noticed() {
    // A whole file that no rotation dropped.
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 6, Options { max_file_bytes: 700, max_files: 8 });
    let files = names::list(directory.path()).unwrap();
    let next = files[1].number;
    fs::remove_file(&files[0].path).unwrap();
    assert_eq!(fault(directory.path()).unwrap().fault, Fault::Beheaded { first: next });
    assert!(matches!(Journal::open(directory.path(), SMALL), Err(JournalError::Broken { .. })));
    // Half a file, under the name that is right for the rest.
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 6, Options::default());
    let file = first_file(directory.path());
    let text = fs::read_to_string(&file).unwrap();
    fs::write(names::Numbered::new(directory.path(), 2).path, text.split_once('\n').unwrap().1).unwrap();
    fs::remove_file(&file).unwrap();
    assert_eq!(fault(directory.path()).unwrap().fault, Fault::Beheaded { first: 2 });
    // One more file than the rotation dropped.
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 40, SMALL);
    assert_eq!(fault(directory.path()), None);
    fs::remove_file(first_file(directory.path())).unwrap();
    assert!(matches!(fault(directory.path()).unwrap().fault, Fault::Beheaded { .. }));
}

#[test]
fn a_rotation_that_a_crash_cut_short_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let wide = Options { max_file_bytes: 700, max_files: 100 };
    filled(directory.path(), 20, wide);
    let old: Vec<_> = names::list(directory.path()).unwrap();
    let kept: Vec<_> = old.iter().map(|file| (file.path.clone(), fs::read(&file.path).unwrap())).collect();
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    journal.append(UnixMs(99), None, &signal("next")).unwrap();
    drop(journal);
    // Any of the files may still be there.
    let gone: Vec<_> = kept.iter().filter(|(path, _)| !path.exists()).collect();
    assert!(gone.len() > 2);
    for (path, bytes) in gone.iter().rev() {
        fs::write(path, bytes).unwrap();
        assert_eq!(fault(directory.path()), None, "{}", path.display());
    }
    // The next line finishes it, without saying it again.
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    journal.append(UnixMs(100), None, &signal("after")).unwrap();
    assert!(names::list(directory.path()).unwrap().len() <= SMALL.max_files);
    assert_eq!(fault(directory.path()), None);
}

#[test]
fn no_file_of_the_open_incident_goes() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    let eu = incident("eu-1");
    for _ in 0..4 {
        journal.append(UnixMs(0), None, &signal("before")).unwrap();
    }
    journal.append(UnixMs(1), Some(&eu), &moved(Phase::Suspect)).unwrap();
    for _ in 0..40 {
        journal.append(UnixMs(2), Some(&eu), &signal("during")).unwrap();
    }
    assert!(names::list(directory.path()).unwrap().len() > SMALL.max_files);
    assert_eq!(journal.entries_of(&eu).unwrap().map(Result::unwrap).count(), 41);
    journal.append(UnixMs(3), Some(&eu), &moved(Phase::Reported)).unwrap();
    journal.append(UnixMs(3), None, &signal("after")).unwrap();
    assert!(names::list(directory.path()).unwrap().len() <= SMALL.max_files);
}

#[test]
fn a_file_that_was_made_just_before_the_crash_is_used() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3, Options::default());
    fs::write(directory.path().join("journal-000004.jsonl"), b"").unwrap();
    let mut journal = open(directory.path());
    assert_eq!(journal.append(UnixMs(7), None, &signal("goes on")).unwrap(), 4);
    drop(journal);
    assert_eq!(sound_lines(directory.path()).len(), 4);
    fs::write(directory.path().join("journal-000009.jsonl"), b"").unwrap();
    assert_eq!(fault(directory.path()).unwrap().fault, Fault::Sequence { expected: 5, found: 9 });
}

#[test]
fn one_process_appends_and_others_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    journal.append(UnixMs(1), None, &signal("a")).unwrap();
    let error = Journal::open(directory.path(), Options::default()).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    assert_eq!(sound_lines(directory.path()).len(), 1);
    drop(journal);
    open(directory.path());
}

#[test]
fn an_entry_of_a_newer_version_is_shown_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let entry = r#"{"seq":1,"at":5,"incident":"eu-1","entry":{"entry":"teleported","to":"mars"},"prev":"#;
    let body = format!("{entry}\"{}\"", "0".repeat(64));
    let digest = crate::hex::encode(ring::digest::digest(&ring::digest::SHA256, body.as_bytes()).as_ref());
    let line = format!("{body},\"hash\":\"{digest}\"}}\n");
    fs::write(directory.path().join("journal-000001.jsonl"), line).unwrap();
    let mut journal = open(directory.path());
    assert_eq!(journal.append(UnixMs(6), None, &signal("goes on")).unwrap(), 2);
    let line = sound_lines(directory.path()).remove(0);
    assert!(matches!(&line.logged, Logged::Unknown { kind, .. } if kind == "teleported"));
    assert!(words_of(&line.logged).contains("mars"));
    assert_eq!(line.incident, Some(incident("eu-1")));
}

#[test]
fn an_entry_longer_than_a_line_is_refused_and_the_next_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let error = journal.append(UnixMs(1), None, &signal(&"x".repeat(MAX_LINE_BYTES))).unwrap_err();
    assert!(matches!(error, JournalError::TooLong));
    assert_eq!(journal.append(UnixMs(1), None, &signal("short")).unwrap(), 1);
}

#[test]
fn a_line_longer_than_any_is_refused_and_reading_goes_on_after_it() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 1, Options::default());
    let path = first_file(directory.path());
    let mut bytes = vec![b'x'; 3 * MAX_LINE_BYTES];
    bytes.push(b'\n');
    bytes.extend(fs::read(&path).unwrap());
    fs::write(&path, bytes).unwrap();
    let items: Vec<_> = Reader::open(directory.path()).unwrap().collect();
    assert!(matches!(&items[0], Err(ReadError::Broken(Broken { fault: Fault::TooLong, line: 1, .. }))));
    assert!(items.last().unwrap().is_ok(), "{items:?}");
}

/// Whether the kept lines alone say that writes are frozen.
fn is_frozen(directory: &Path) -> bool {
    let mut is_frozen = false;
    for line in sound_lines(directory) {
        if let Logged::Known(Entry::Signal { signal, raised, .. }) = &line.logged
            && signal == FROZEN
        {
            is_frozen = *raised;
        }
    }
    is_frozen
}

#[test]
fn a_freeze_outlives_the_file_it_was_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let freeze = |raised| Entry::Signal { signal: FROZEN.to_owned(), raised, detail: "moving".to_owned() };
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    journal.append(UnixMs(0), None, &freeze(true)).unwrap();
    for _ in 0..40 {
        journal.append(UnixMs(1), None, &signal("noise")).unwrap();
        assert!(is_frozen(directory.path()));
    }
    assert!(names::list(directory.path()).unwrap().len() <= SMALL.max_files);
    // Across a restart as well.
    drop(journal);
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    (0..40).for_each(|_| _ = journal.append(UnixMs(2), None, &signal("noise")).unwrap());
    assert!(is_frozen(directory.path()));
    journal.append(UnixMs(3), None, &freeze(false)).unwrap();
    (0..40).for_each(|_| _ = journal.append(UnixMs(4), None, &signal("noise")).unwrap());
    assert!(!is_frozen(directory.path()));
    assert!(!fs::read_to_string(first_file(directory.path())).unwrap().contains(FROZEN));
}

#[test]
fn a_region_that_was_acted_for_stays_so_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    let mut say = |prefix: &str, raised| {
        let entry = Entry::Signal { signal: format!("{prefix}eu"), raised, detail: String::new() };
        journal.append(UnixMs(0), None, &entry).unwrap();
        (0..40).for_each(|_| _ = journal.append(UnixMs(1), None, &signal("noise")).unwrap());
        let kept = sound_lines(directory.path());
        [DOWN_PREFIX, SPENT_PREFIX].map(|prefix| {
            let name = format!("{prefix}eu");
            kept.iter().any(|line| {
                matches!(&line.logged,
                Logged::Known(Entry::Signal { signal, raised: true, .. }) if *signal == name)
            })
        })
    };
    assert_eq!(say(DOWN_PREFIX, true), [true, false]);
    assert_eq!(say(SPENT_PREFIX, true), [true, true]);
    assert_eq!(say(DOWN_PREFIX, false), [false, false]);
}

#[test]
fn the_writes_of_a_day_are_kept_for_its_cap() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), SMALL).unwrap();
    let eu = incident("eu-1");
    journal.append(UnixMs(1), Some(&eu), &intent(Step::WriteRecord, 1)).unwrap();
    journal.append(UnixMs(2), Some(&eu), &outcome(Step::WriteRecord, 1)).unwrap();
    journal.append(UnixMs(3), Some(&eu), &moved(Phase::Reported)).unwrap();
    (0..40).for_each(|_| _ = journal.append(UnixMs(DAY_MS), None, &signal("noise")).unwrap());
    assert_eq!(journal.entries_of(&eu).unwrap().count(), 3);
    journal.append(UnixMs(DAY_MS + 2), None, &signal("the day after")).unwrap();
    assert_eq!(journal.entries_of(&eu).unwrap().count(), 0);
    assert!(names::list(directory.path()).unwrap().len() <= SMALL.max_files);
}
