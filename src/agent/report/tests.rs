//! Promises of a report: it says what the journal says, it is the same each time, and nothing in it runs.

use std::fs;

use super::facts::State;
use super::*;
use crate::agent::history::{Measure, Point, Series};
use crate::agent::journal::{Line, Logged};
use crate::agent::types::{Cause, Entry, IncidentId, Phase, RecordState, Region, Step, UnixMs};

const BEGAN: u64 = 1_764_053_000_000;
const HOSTILE: &str = "</title><script>alert(1)</script>\" onload=\"x' | ``` [a](javascript:b)\n# no\u{202e}";

fn id() -> IncidentId {
    IncidentId("eu-20251125-1".to_owned())
}

fn record(address: &str) -> RecordState {
    RecordState {
        name: "rate.example.com".to_owned(),
        kind: "A".to_owned(),
        ttl_s: 30,
        values: vec![address.to_owned()],
        proxied: None,
        weights: vec![],
    }
}

fn signal(detail: &str) -> Entry {
    Entry::Signal { signal: "region_unreachable".to_owned(), raised: true, detail: detail.to_owned() }
}

fn moved(from: Phase, to: Phase, why: &str) -> Entry {
    Entry::Moved { from, to, why: why.to_owned() }
}

fn plan(cause: Cause) -> Entry {
    let (region, target) = (Region("eu".to_owned()), Some(Region("us".to_owned())));
    Entry::Planned { region, target, cause, approved_by: String::new(), asked: false, last_healthy: None }
}

fn intent(step: Step, expected: Option<RecordState>, wanted: Option<RecordState>) -> Entry {
    Entry::Intent { step, attempt: 1, calls: vec![], expected, wanted }
}

fn outcome(step: Step, done: bool, detail: &str) -> Entry {
    Entry::Outcome { step, attempt: 1, done, detail: detail.to_owned() }
}

fn lines(entries: Vec<(u64, Entry)>) -> Vec<Line> {
    let line = |(number, (after_ms, entry))| Line {
        sequence: number as u64 + 1,
        at: UnixMs(BEGAN + after_ms),
        incident: Some(id()),
        logged: Logged::Known(entry),
    };
    entries.into_iter().enumerate().map(line).collect()
}

/// From the first signal to the verdict on the target.
fn until_validated(detail: &str, is_good: bool) -> Vec<(u64, Entry)> {
    use Phase::{AutoApproved, Paged, Preflight, Suspect, Switching, Validating, Watching};
    let (eu, us) = (record("192.0.2.1"), record("198.51.100.1"));
    vec![
        (0, signal(detail)),
        (1_000, moved(Watching, Suspect, "2 of 3 probes fail")),
        (1_100, plan(Cause::Signal)),
        (1_200, intent(Step::Page, None, None)),
        (1_900, outcome(Step::Page, true, "accepted")),
        (1_950, moved(Suspect, Paged, "the page got through")),
        (31_950, moved(Paged, AutoApproved, "30 s and nobody declined")),
        (32_000, moved(AutoApproved, Preflight, "us is tried")),
        (33_000, outcome(Step::Preflight, true, "tokens 97 %")),
        (33_100, moved(Preflight, Switching, "us is fit")),
        (33_200, Entry::Record { state: eu.clone() }),
        (33_300, intent(Step::WriteRecord, Some(eu), Some(us))),
        (33_900, outcome(Step::WriteRecord, true, detail)),
        (36_000, outcome(Step::AwaitVisible, true, "4 of 4 servers")),
        (36_100, moved(Switching, Validating, "the change is visible")),
        (46_000, outcome(Step::Validate, is_good, "p99 900 µs")),
    ]
}

fn recovered(detail: &str) -> Vec<Line> {
    let mut entries = until_validated(detail, true);
    entries.push((46_100, moved(Phase::Validating, Phase::Recovered, "errors 0 %, p99 900 µs")));
    entries.push((46_500, outcome(Step::ResolvePage, true, "")));
    lines(entries)
}

fn rolled_back() -> Vec<Line> {
    let (eu, us) = (record("192.0.2.1"), record("198.51.100.1"));
    let mut entries = until_validated("timed out", false);
    entries.push((46_100, moved(Phase::Validating, Phase::RollingBack, "errors 40 %")));
    entries.push((46_200, intent(Step::RestoreRecord, Some(us), Some(eu))));
    entries.push((47_000, outcome(Step::RestoreRecord, true, "")));
    entries.push((47_100, moved(Phase::RollingBack, Phase::RolledBack, "the record is as before")));
    lines(entries)
}

fn series() -> Vec<Series> {
    let shape = |measure: &Measure, second: u64| match (measure, second) {
        // Nothing is measured for 20 s.
        (_, 640..660) => None,
        (Measure::Available, 600..646) => Some(0.1),
        (Measure::Available, _) => Some(0.85),
        (Measure::Checks, 600..646) => Some(120.0),
        (Measure::Checks, _) => Some(52_000.0 + (second % 7) as f64 * 400.0),
        (Measure::Denials | Measure::Errors, 600..646) => Some(85.0),
        (Measure::P99, 600..646) => Some(9_000.0),
        (Measure::P99, _) => Some(350.0 + (second % 11) as f64 * 10.0),
        _ => Some(0.0),
    };
    figures::SHOWN
        .iter()
        .map(|measure| Series {
            measure: measure.clone(),
            step_ms: 1000,
            points: (0..1200)
                .map(|second| Point {
                    at: UnixMs(BEGAN - 600_000 + second * 1000),
                    value: shape(measure, second),
                })
                .collect(),
        })
        .collect()
}

fn rendered(lines: &[Line], series: &[Series]) -> (String, String) {
    let facts = Facts::new(&id(), lines).unwrap();
    (markdown::render(&facts, series), html::render(&facts, series))
}

#[test]
fn durations_and_checklist_are_those_of_the_journal() {
    let facts = Facts::new(&id(), &recovered("timed out")).unwrap();
    let durations: Vec<_> = facts.durations.iter().map(|row| (row.name, row.ms.unwrap())).collect();
    let expected = [
        ("Detection", 1_000),
        ("Page", 900),
        ("Acknowledgement", 30_050),
        ("Switch", 2_700),
        ("Validate", 10_000),
        ("Total", 46_100),
    ];
    assert_eq!(durations, expected);
    assert!(
        facts.checklist.iter().all(|(_, state)| matches!(state, State::Done(_))),
        "{:?}",
        facts.checklist
    );
    assert!(facts.checklist.iter().any(|(name, _)| *name == "Approved by policy"));
    assert_eq!(facts.record_before, Some(record("192.0.2.1")));
    assert_eq!(facts.record_after, Some(record("198.51.100.1")));
    assert_eq!(facts.headline, "Region unreachable (eu): traffic was moved to us and is served again");
    assert_eq!(facts.due_at, Some(UnixMs(BEGAN + 46_100 + 48 * 3_600_000)));
}

#[test]
fn a_region_that_goes_down_is_detected_from_its_last_healthy_answer_on() {
    let (region, last_healthy) = (Region("eu".to_owned()), Some(UnixMs(BEGAN - 1_200)));
    let (cause, approved_by, asked) = (Cause::Signal, String::new(), false);
    let facts = lines(vec![
        (0, Entry::Planned { region, target: None, cause, approved_by, asked, last_healthy }),
        (0, moved(Phase::Watching, Phase::Suspect, "does not answer")),
        (300, moved(Phase::Suspect, Phase::Paged, "eu does not answer")),
    ]);
    let facts = Facts::new(&id(), &facts).unwrap();
    assert_eq!(facts.durations[0].ms, Some(1_200));
    assert_eq!(facts.durations[0].meaning, "last healthy answer to suspicion");
    assert_eq!(facts.headline, "Region down (eu): it goes on (paged)");
    assert_eq!(facts.summary[0], "What was seen: eu does not answer.");
}

#[test]
fn a_rollback_says_that_the_record_is_as_it_was() {
    let facts = Facts::new(&id(), &rolled_back()).unwrap();
    assert_eq!(facts.record_before, facts.record_after);
    assert_eq!(facts.headline, "Region unreachable (eu): traffic was moved to us and put back");
    let state = |name: &str| facts.checklist.iter().find(|(check, _)| *check == name).unwrap().1;
    assert!(matches!(state("Rolled back"), State::Done(_)));
    assert!(matches!(state("Validated through the public name"), State::Failed(_)));
    assert_eq!(state("Page resolved"), State::NotDone);
}

fn without(mut entries: Vec<(u64, Entry)>, wanted: Step) -> Vec<(u64, Entry)> {
    entries.retain(|(_, entry)| !matches!(entry, Entry::Outcome { step, .. } if *step == wanted));
    entries
}

#[test]
fn a_write_that_was_settled_by_reading_is_reported_as_made() {
    let mut entries = without(until_validated("timed out", true), Step::WriteRecord);
    let shows = |(_, entry): &(u64, Entry)| matches!(entry, Entry::Outcome { step: Step::AwaitVisible, .. });
    let at = entries.iter().position(shows).unwrap();
    // The agent was killed right after the write, and this is another life of it.
    entries.insert(at, (35_000, intent(Step::AwaitVisible, None, None)));
    entries.push((46_100, moved(Phase::Validating, Phase::Recovered, "p99 900 µs")));
    let facts = Facts::new(&id(), &lines(entries)).unwrap();
    let state = |name: &str| facts.checklist.iter().find(|(check, _)| *check == name).unwrap().1;
    assert_eq!(state("Record switched"), State::Done(UnixMs(BEGAN + 35_000)));
    assert_eq!(facts.record_after, Some(record("198.51.100.1")));
    assert!(facts.headline.contains("traffic was moved to us"), "{}", facts.headline);
}

#[test]
fn a_write_of_which_nothing_was_heard_is_not_reported_as_made_nor_as_left_out() {
    let mut entries = without(until_validated("x", true), Step::WriteRecord);
    entries.truncate(entries.iter().position(|(at, _)| *at == 36_000).unwrap());
    entries.push((40_000, moved(Phase::Switching, Phase::HandedOver, "somebody else changed the record")));
    let lines = lines(entries);
    let facts = Facts::new(&id(), &lines).unwrap();
    let state = |name: &str| facts.checklist.iter().find(|(check, _)| *check == name).unwrap().1;
    assert_eq!(state("Record switched"), State::Unknown(UnixMs(BEGAN + 33_300)));
    let switch = facts.durations.iter().find(|row| row.name == "Switch").unwrap();
    assert_eq!(switch.ms, None, "it never showed");
    let (markdown, html) = rendered(&lines, &[]);
    assert!(markdown.contains("Record switched: begun") && html.contains("its end is not known"));
}

#[test]
fn a_record_that_was_found_put_back_is_reported_as_it_was() {
    let mut entries = without(until_validated("x", false), Step::RestoreRecord);
    entries.push((46_100, moved(Phase::Validating, Phase::RollingBack, "errors 40 %")));
    entries.push((47_100, moved(Phase::RollingBack, Phase::RolledBack, "the record leads to eu again")));
    let facts = Facts::new(&id(), &lines(entries)).unwrap();
    assert_eq!(facts.record_after, Some(record("192.0.2.1")));
}

#[test]
fn what_did_not_come_to_pass_is_not_made_up() {
    let facts = Facts::new(&id(), &recovered("x")[..2]).unwrap();
    assert_eq!((facts.ended_at, facts.due_at, facts.record_before.clone()), (None, None, None));
    assert!(facts.headline.contains("it goes on"), "{}", facts.headline);
    let (markdown, html) = rendered(&recovered("x")[..2], &[]);
    for text in [markdown, html] {
        assert!(
            text.contains("not yet") && text.contains("not known") && text.contains("did not come to it")
        );
        assert!(text.contains("history of that time is not kept") && !text.contains("role=\"img\""));
    }
    assert_eq!(Facts::new(&IncidentId("other".to_owned()), &recovered("x")), None);
}

#[test]
fn a_drill_and_other_endings_are_named() {
    for (phase, words) in [
        (Phase::Declined, "declined"),
        (Phase::HandedOver, "handed over"),
        (Phase::Watching, "went away by itself"),
        (Phase::Recovered, "served again"),
    ] {
        let entries = vec![
            (0, Entry::Command { command: "drill".to_owned(), who: "me".to_owned() }),
            (1, moved(Phase::Paged, phase, "because")),
        ];
        let facts = Facts::new(&id(), &lines(entries)).unwrap();
        assert!(
            facts.headline.starts_with("Drill: ") && facts.headline.contains(words),
            "{}",
            facts.headline
        );
        assert!(facts.ended_at.is_some());
    }
}

#[test]
fn what_a_person_or_a_time_of_health_began_says_so() {
    for (cause, words) in [
        (Cause::Person, "Switch by hand (eu): "),
        (Cause::Failback, "Return (eu): "),
        (Cause::Drill, "Drill: Incident (eu): "),
    ] {
        let facts = Facts::new(&id(), &lines(vec![(0, plan(cause))])).unwrap();
        assert!(facts.headline.starts_with(words), "{}", facts.headline);
        assert_eq!(facts.is_drill, cause == Cause::Drill);
    }
}

#[test]
fn hostile_text_stays_text() {
    let (markdown, html) = rendered(&recovered(HOSTILE), &series());
    for bad in ["<script", "</title><script", "onload=\"", "\u{202e}"] {
        assert!(!html.contains(bad), "{bad}");
    }
    assert_eq!(html.matches("<title").count(), html.matches("</title>").count());
    for bad in ["<script", "[a](", "```", "\n# no", " | \\`", "\u{202e}"] {
        assert!(!markdown.contains(bad), "{bad}");
    }
    // Each row of a table keeps its cells.
    let rows = markdown.lines().filter(|line| line.contains("script"));
    assert!(rows.filter(|line| line.starts_with("| 20")).all(|row| cells(row) == 3));
}

fn cells(row: &str) -> usize {
    row.replace("\\|", "").matches('|').count() - 1
}

#[test]
fn the_page_needs_nothing_from_outside_and_says_what_it_draws() {
    let (_, html) = rendered(&recovered("timed out"), &series());
    for bad in ["http://", "https://", "src=", "href=", "@import", "<script", "NaN", "inf"] {
        assert!(!html.contains(bad), "{bad}");
    }
    assert!(html.contains("default-src 'none'"));
    assert_eq!(html.matches("role=\"img\"").count(), 6);
    for part in
        ["% of capacity", "per second", "µs", "time, UTC", "no data", "between 10 and 85 % of capacity"]
    {
        assert!(html.contains(part), "{part}");
    }
    for shade in ["band detect", "band switch", "band validate"] {
        assert_eq!(html.matches(shade).count() % 6, 0, "{shade}");
        assert!(html.contains(shade), "{shade}");
    }
}

#[test]
fn figures_are_of_before_during_and_after() {
    let (markdown, _) = rendered(&recovered("timed out"), &series());
    let row = markdown.lines().find(|line| line.starts_with("| Available tokens")).unwrap();
    assert_eq!(row, "| Available tokens, % of capacity | 85 (least 85) | 10 (least 10) | 85 (least 85) |");
}

#[test]
fn writing_again_gives_the_same_bytes_whatever_came_after() {
    let directory = tempfile::tempdir().unwrap();
    let mut lines = recovered("timed out");
    let written = write(directory.path(), &id(), &lines, Some(&series())).unwrap();
    let read = |path: &std::path::Path| fs::read(path).unwrap();
    let before = [read(&written.markdown), read(&written.html)];
    for (entry, incident) in [
        (intent(Step::WriteReport, None, None), id()),
        (outcome(Step::WriteReport, true, "written"), id()),
        (moved(Phase::Recovered, Phase::Reported, "written"), id()),
        (moved(Phase::Reported, Phase::Watching, "over"), id()),
        (signal("another"), IncidentId("next".to_owned())),
    ] {
        let (sequence, logged) = (lines.len() as u64 + 1, Logged::Known(entry));
        lines.push(Line { sequence, at: UnixMs(BEGAN + 60_000), incident: Some(incident), logged });
    }
    let again = write(directory.path(), &id(), &lines, None).unwrap();
    assert_eq!([read(&again.markdown), read(&again.html)], before);
    assert_eq!(again, written);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn what_cannot_be_written_or_read_is_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let text = |incident: &str, lines: &[Line]| {
        let incident = IncidentId(incident.to_owned());
        write(path, &incident, lines, None).unwrap_err().to_string()
    };
    assert!(text("other", &recovered("x")).contains("audit show"));
    for bad in ["", "../etc/passwd", ".hidden", "a/b", "a b", "é", &"x".repeat(129)] {
        assert!(text(bad, &recovered("x")).contains("no incident's id"), "{bad:?}");
    }
    fs::write(path.join(format!("{}.series.json", id().0)), b"{").unwrap();
    assert!(text(&id().0, &recovered("x")).contains("Remove it"));
    fs::write(path.join("file"), b"").unwrap();
    let error = write(&path.join("file"), &id(), &recovered("x"), None).unwrap_err();
    assert!(error.to_string().contains("room"), "{error}");
}
