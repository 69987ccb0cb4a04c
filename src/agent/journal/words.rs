//! Lines of the journal as people read them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{Line, Logged};
use crate::agent::types::{Cause, Entry, Phase, RecordState, Step, UnixMs};

/// A text from outside longer than this is cut where people read it.
const MAX_CHARS: usize = 2000;

/// `at` in UTC with milliseconds: `2026-03-04 05:06:07.089`.
#[must_use]
pub fn utc(at: UnixMs) -> String {
    let timestamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match timestamp {
        Some(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S.%3f").to_string(),
        None => format!("{} ms", at.0),
    }
}

/// `text` on one line and without what would move a terminal or turn the direction of reading, cut at
/// 2,000 characters.
#[must_use]
pub fn printable(text: &str) -> String {
    printable_within(text, MAX_CHARS)
}

/// The same, cut at `most_chars`.
#[must_use]
pub fn printable_within(text: &str, most_chars: usize) -> String {
    let mut chars = text.trim().chars();
    let mut kept: String = chars.by_ref().take(most_chars).map(printable_char).collect();
    if chars.next().is_some() {
        kept.push('…');
    }
    kept
}

fn printable_char(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        // Marks and overrides of direction, and what has no width.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            '\u{fffd}'
        }
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A line for programs: `seq`, `at` in milliseconds since 1970, `incident`, `entry`.
#[must_use]
pub fn json_of(line: &Line) -> Value {
    let entry = match &line.logged {
        Logged::Known(entry) => serde_json::to_value(entry).ok(),
        Logged::Unknown { json, .. } => serde_json::from_str(json).ok(),
    };
    let incident = line.incident.as_ref().map(|incident| &incident.0);
    json!({"seq": line.sequence, "at": line.at.0, "incident": incident, "entry": entry})
}

/// What a line says, in one line.
#[must_use]
pub fn words_of(logged: &Logged) -> String {
    match logged {
        Logged::Known(entry) => words_of_entry(entry),
        Logged::Unknown { kind, json } => {
            format!(
                "an entry of a kind this version does not know, `{}`: {}",
                printable(kind),
                printable(json)
            )
        }
    }
}

fn words_of_entry(entry: &Entry) -> String {
    match entry {
        Entry::Started { version, mode } => {
            format!("agent {} started in mode {}", printable(version), printable(mode))
        }
        Entry::Signal { signal, raised, detail } => {
            let what = if *raised { "raised" } else { "gone" };
            with_detail(&format!("signal {} {what}", printable(signal)), detail)
        }
        Entry::Moved { from, to, why } => {
            with_detail(&format!("from {} to {}", phase_name(*from), phase_name(*to)), why)
        }
        Entry::Intent { step, attempt, calls, wanted, .. } => {
            let mut text = format!("about to {}{}", step_name(*step), nth(*attempt));
            if let Some(wanted) = wanted {
                text.push_str(&format!(": {}", record_words(wanted)));
            }
            if !calls.is_empty() {
                let calls: Vec<_> = calls.iter().map(|call| printable(call)).collect();
                text.push_str(&format!(" [{}]", calls.join("; ")));
            }
            text
        }
        Entry::Outcome { step, attempt, done, detail } => {
            let end = if *done { "done" } else { "failed" };
            with_detail(&format!("{}{}: {end}", step_name(*step), nth(*attempt)), detail)
        }
        Entry::Planned { region, target, cause, approved_by, .. } => {
            let verb = if *cause == Cause::Failback { "bring back" } else { "withdraw" };
            let target = match target {
                Some(target) => format!(", {} takes over", printable(&target.0)),
                None => ", nobody takes over yet".to_owned(),
            };
            let approved = match approved_by.as_str() {
                "" => "not approved yet".to_owned(),
                "policy" => "approved by policy".to_owned(),
                by_a_person => printable(by_a_person),
            };
            let plan = format!("plan after {}: {verb} {}{target}", cause_name(*cause), printable(&region.0));
            format!("{plan}; {approved}")
        }
        Entry::Dropped { through, .. } => format!("the lines up to #{through} are dropped, to make room"),
        Entry::Record { state } => format!("the public record is {}", record_words(state)),
        Entry::Command { command, who } => format!("{} by {}", printable(command), printable(who)),
    }
}

fn with_detail(text: &str, detail: &str) -> String {
    let detail = printable(detail);
    if detail.is_empty() { text.to_owned() } else { format!("{text}: {detail}") }
}

fn nth(attempt: u32) -> String {
    if attempt > 1 { format!(" (attempt {attempt})") } else { String::new() }
}

/// A record in the form of a zone file, with what a provider adds.
pub(crate) fn record_words(state: &RecordState) -> String {
    let values = state.values.iter().enumerate().map(|(at, value)| match state.weights.get(at) {
        Some(weight) => format!("{} (weight {weight})", printable(value)),
        None => printable(value),
    });
    let values = values.collect::<Vec<_>>().join(", ");
    let values = if values.is_empty() { "nothing" } else { &values };
    let proxied = match state.proxied {
        Some(true) => ", proxied",
        _ => "",
    };
    let (name, kind, ttl_s) = (printable(&state.name), printable(&state.kind), state.ttl_s);
    format!("{name} {ttl_s} {kind} {values}{proxied}")
}

pub(crate) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Preflight => "preflight",
        other => other.in_words(),
    }
}

const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Signal => "a signal",
        Cause::Person => "a person's word",
        Cause::Failback => "a time of health",
        Cause::Drill => "the start of a drill",
    }
}

pub(crate) const fn step_name(step: Step) -> &'static str {
    match step {
        Step::Page => "page",
        Step::ResolvePage => "resolve the page",
        Step::Preflight => "look at the target",
        Step::ReadRecord => "read the record",
        Step::WriteRecord => "write the record",
        Step::AwaitVisible => "wait until resolvers show it",
        Step::Validate => "validate",
        Step::RestoreRecord => "put the record back",
        Step::Notify => "tell the chat",
        Step::Scale => "scale the standby",
        Step::CommitRegion => "commit the region",
        Step::WriteReport => "write the report",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::types::Region;

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(utc(UnixMs(1_772_600_767_089)), "2026-03-04 05:06:07.089");
        assert_eq!(utc(UnixMs(u64::MAX)), "18446744073709551615 ms");
    }

    #[test]
    fn what_came_from_outside_cannot_move_a_terminal_or_fill_a_page() {
        assert_eq!(printable("\x1b[2Jgone\r\nnext\u{202e}x"), "\u{fffd}[2Jgone  next\u{fffd}x");
        let long = printable(&"ü".repeat(5000));
        assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_CHARS + 1, true));
        let entry = Entry::Outcome {
            step: Step::Page,
            attempt: 2,
            done: false,
            detail: "HTTP 500\x07\nsecond".to_owned(),
        };
        assert_eq!(words_of(&Logged::Known(entry)), "page (attempt 2): failed: HTTP 500\u{fffd} second");
    }

    #[test]
    fn a_plan_says_who_goes_who_comes_and_who_agreed() {
        let plan = |target: Option<&str>, cause, approved_by: &str| {
            let target = target.map(|name| Region(name.to_owned()));
            let (region, approved_by) = (Region("eu".to_owned()), approved_by.to_owned());
            let (asked, last_healthy) = (false, None);
            words_of_entry(&Entry::Planned { region, target, cause, approved_by, asked, last_healthy })
        };
        assert_eq!(
            plan(Some("us"), Cause::Signal, "acknowledged by ann"),
            "plan after a signal: withdraw eu, us takes over; acknowledged by ann"
        );
        assert_eq!(
            plan(None, Cause::Failback, ""),
            "plan after a time of health: bring back eu, nobody takes over yet; not approved yet"
        );
    }

    #[test]
    fn a_record_reads_like_a_zone_file() {
        let mut state = RecordState {
            name: "rate.example.com".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 30,
            values: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
            proxied: Some(true),
            weights: vec![100, 0],
        };
        let expected = "rate.example.com 30 A 192.0.2.1 (weight 100), 192.0.2.2 (weight 0), proxied";
        assert_eq!(record_words(&state), expected);
        state.values.clear();
        assert_eq!(record_words(&state), "rate.example.com 30 A nothing, proxied");
    }
}
