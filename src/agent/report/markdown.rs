//! The report as Markdown.

use std::fmt::Write as _;

use super::escape::markdown as escaped;
use super::facts::{Facts, State};
use super::figures::{Band, duration, figure, rows};
use crate::agent::history::Series;
use crate::agent::journal::{record_words, utc};
use crate::agent::types::RecordState;

/// Empty rows for people to fill in.
const ACTION_ROWS: usize = 3;
const WHYS: usize = 5;

pub(super) fn render(facts: &Facts, series: &[Series]) -> String {
    let mut text = String::new();
    // A String takes all that is written.
    let mut line = |content: String| {
        let _ = writeln!(text, "{content}");
    };
    line(format!("# {}\n", escaped(&facts.headline)));
    head(facts).into_iter().for_each(&mut line);
    line("\n## What happened\n".to_owned());
    line(facts.summary.iter().map(|sentence| escaped(sentence)).collect::<Vec<_>>().join(" "));
    line("\n## Durations\n\n| | | |\n|---|---:|---|".to_owned());
    for row in &facts.durations {
        line(format!("| {} | {} | {} |", row.name, row.ms.map_or("–".to_owned(), duration), row.meaning));
    }
    line("\n## Checklist\n".to_owned());
    facts.checklist.iter().map(|(name, state)| check(name, *state)).for_each(&mut line);
    line("\n## The public record\n".to_owned());
    line(format!("- Before: {}", record(facts.record_before.as_ref())));
    line(format!("- After: {}", record(facts.record_after.as_ref())));
    line("\n## Before, during and after\n".to_owned());
    figures(facts, series).into_iter().for_each(&mut line);
    line("\n## Timeline\n\nTimes are UTC.\n\n| Time | Line | What |\n|---|---:|---|".to_owned());
    for event in &facts.timeline {
        let (mark, words) = (if event.is_milestone { "**" } else { "" }, escaped(&event.words));
        line(format!("| {} | {} | {mark}{words}{mark} |", utc(event.at), event.sequence));
    }
    line("\n## Root cause\n".to_owned());
    (1..=WHYS).for_each(|number| line(format!("{number}. Why?")));
    line("\n## Action items\n\n| What | Owner | Due |\n|---|---|---|".to_owned());
    (0..ACTION_ROWS).for_each(|_| line("| | | |".to_owned()));
    text
}

fn head(facts: &Facts) -> Vec<String> {
    let time = |at: Option<_>| at.map_or("–".to_owned(), |at| format!("{} UTC", utc(at)));
    let mut lines = vec![
        format!("- Incident: {}", escaped(&facts.incident.0)),
        format!("- Began: {}", time(Some(facts.began_at))),
        format!("- Ended: {}", facts.ended_at.map_or("not yet".to_owned(), |at| time(Some(at)))),
        format!("- This report is due: {}", time(facts.due_at)),
    ];
    if facts.is_drill {
        lines.push("- A drill: the live record was not touched".to_owned());
    }
    lines
}

fn check(name: &str, state: State) -> String {
    match state {
        State::Done(at) => format!("- [x] {name} ({} UTC)", utc(at)),
        State::Failed(at) => format!("- [ ] {name}: failed ({} UTC)", utc(at)),
        State::Unknown(at) => format!("- [ ] {name}: begun ({} UTC), its end is not known", utc(at)),
        State::NotDone => format!("- [ ] {name}: did not come to it"),
    }
}

fn record(state: Option<&RecordState>) -> String {
    state.map_or("not known".to_owned(), |state| escaped(&record_words(state)))
}

fn figures(facts: &Facts, series: &[Series]) -> Vec<String> {
    let rows = rows(facts, series);
    if rows.is_empty() {
        return vec!["The history of that time is not kept any more, so there are no figures.".to_owned()];
    }
    let cell = |band: Option<Band>, worst: &str| match band {
        Some(band) => format!("{} ({worst} {})", figure(band.mean), figure(band.worst)),
        None => "no data".to_owned(),
    };
    let mut lines = vec!["| Mean | Before | During | After |\n|---|---:|---:|---:|".to_owned()];
    for row in rows {
        let [before, during, after] = row.bands.map(|band| cell(band, row.worst));
        lines.push(format!("| {}, {} | {before} | {during} | {after} |", row.name, row.unit));
    }
    lines
}
