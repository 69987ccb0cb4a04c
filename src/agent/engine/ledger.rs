//! The agent's journal, and what happens while it cannot be written: nothing is done, and writing is tried again.

use std::path::PathBuf;

use tracing::{error, warn};

use crate::agent::journal::{Journal, JournalError, Line, Options, ReadError};
use crate::agent::types::{Entry, IncidentId, UnixMs};

/// How often writing is tried while it fails.
const RETRY_MS: u64 = 3000;

/// A line that is too long keeps this much of each text, and this many calls or values, so that it fits.
const MAX_TEXT_CHARS: usize = 1000;
const MAX_TEXTS: usize = 32;

/// A line in the form that the runbook resumes from.
pub(super) type Past = (UnixMs, Option<IncidentId>, Entry);

/// The journal, or why there is none now.
#[derive(Debug)]
pub(super) struct Ledger {
    directory: PathBuf,
    journal: Option<Journal>,
    failing: Option<String>,
    retry_at: UnixMs,
    errors: u64,
}

/// What became of a journal that could not be written.
pub(super) enum Mended {
    /// It still cannot.
    No,
    /// It can again.
    Again,
    /// It could not be opened until now: this is what it has.
    Opened(Vec<Past>),
}

impl Ledger {
    /// Opens it; the lines it has, or none when it cannot be opened now.
    pub(super) fn open(directory: PathBuf) -> (Self, Vec<Past>) {
        let mut ledger = Self { directory, journal: None, failing: None, retry_at: UnixMs(0), errors: 0 };
        let past = ledger.open_journal().unwrap_or_else(|why| {
            ledger.fail(why, UnixMs(0));
            Vec::new()
        });
        (ledger, past)
    }

    fn open_journal(&mut self) -> Result<Vec<Past>, String> {
        let journal = Journal::open(&self.directory, Options::default())
            .map_err(|error: JournalError| error.to_string())?;
        let lines = journal.entries().map_err(|error: ReadError| error.to_string())?;
        let mut past = Vec::new();
        for line in lines {
            let line = line.map_err(|error| error.to_string())?;
            past.extend(line.logged.known().map(|entry| (line.at, line.incident.clone(), entry.clone())));
        }
        self.journal = Some(journal);
        Ok(past)
    }

    /// Why it cannot be written; `None` when it can.
    pub(super) fn failing(&self) -> Option<&str> {
        self.failing.as_deref()
    }

    /// How often it could not be written.
    pub(super) const fn errors(&self) -> u64 {
        self.errors
    }

    /// Its state in words.
    pub(super) fn words(&self) -> String {
        match &self.failing {
            Some(why) => why.clone(),
            None => format!("written to {}", self.directory.display()),
        }
    }

    /// Whether the entry is on the disk now. If it is too long its texts are cut; the decision in it stays whole.
    pub(super) fn append(&mut self, now: UnixMs, incident: Option<&IncidentId>, entry: &Entry) -> bool {
        let Some(journal) = &mut self.journal else { return false };
        let mut appended = journal.append(now, incident, entry);
        if matches!(appended, Err(JournalError::TooLong)) {
            let Some(short) = shortened(entry) else {
                // Its change is not made then; the disk is not to blame.
                error!("{}", JournalError::TooLong);
                return false;
            };
            warn!("texts of a line are cut, since it is longer than the journal takes");
            appended = journal.append(now, incident, &short);
        }
        match appended {
            Ok(_) => true,
            Err(error) => {
                self.fail(error.to_string(), now);
                false
            }
        }
    }

    fn fail(&mut self, why: String, now: UnixMs) {
        self.errors += 1;
        self.failing = Some(why);
        self.retry_at = now.after_ms(RETRY_MS);
    }

    /// Tries again, when it is time to.
    pub(super) fn mend(&mut self, now: UnixMs) -> Mended {
        if self.failing.is_none() || now < self.retry_at {
            return Mended::No;
        }
        if self.journal.is_none() {
            return match self.open_journal() {
                Ok(past) => {
                    self.failing = None;
                    Mended::Opened(past)
                }
                Err(why) => {
                    self.fail(why, now);
                    Mended::No
                }
            };
        }
        let detail = self.failing.clone().unwrap_or_default();
        let over = Entry::Signal { signal: "journal_failed".to_owned(), raised: false, detail };
        if !self.append(now, None, &over) {
            return Mended::No;
        }
        self.failing = None;
        Mended::Again
    }

    /// The lines of an incident, as far as they can be read.
    pub(super) fn lines_of(&self, incident: &IncidentId) -> Vec<Line> {
        let lines = self.journal.as_ref().and_then(|journal| journal.entries_of(incident).ok());
        lines.into_iter().flatten().filter_map(Result::ok).collect()
    }
}

/// The same with all texts cut. `None` for an announced change: a record that is cut is another record, and a restart
/// would take it for the one that was written.
fn shortened(entry: &Entry) -> Option<Entry> {
    let cut = |text: &String| text.chars().take(MAX_TEXT_CHARS).collect::<String>();
    let mut short = entry.clone();
    match &mut short {
        Entry::Intent { expected: Some(_), .. } | Entry::Intent { wanted: Some(_), .. } => return None,
        Entry::Intent { calls, .. } => {
            calls.truncate(MAX_TEXTS);
            calls.iter_mut().for_each(|call| *call = cut(call));
        }
        // No region's record has so many values, so this one is not ours either way.
        Entry::Record { state } => {
            state.values.truncate(MAX_TEXTS);
            state.values.iter_mut().for_each(|value| *value = cut(value));
            state.weights.truncate(MAX_TEXTS);
            (state.name, state.kind) = (cut(&state.name), cut(&state.kind));
        }
        Entry::Started { version: one, mode: other }
        | Entry::Signal { signal: one, detail: other, .. }
        | Entry::Command { command: one, who: other } => (*one, *other) = (cut(one), cut(other)),
        Entry::Planned { approved_by: text, .. }
        | Entry::Moved { why: text, .. }
        | Entry::Outcome { detail: text, .. } => *text = cut(text),
        // The journal writes it itself, and it has no text to cut.
        Entry::Dropped { .. } => {}
    }
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::types::{Cause, Phase, RecordState, Region, Step};

    fn started() -> Entry {
        Entry::Started { version: "1".to_owned(), mode: "manual".to_owned() }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut ledger, past) = Ledger::open(path.clone());
        assert!(past.is_empty() && ledger.append(UnixMs(5), None, &started()));
        drop(ledger);
        let (ledger, past) = Ledger::open(path);
        assert_eq!(past, [(UnixMs(5), None, started())]);
        assert!(ledger.failing().is_none() && ledger.errors() == 0);
    }

    fn long_record() -> RecordState {
        RecordState {
            name: "www.example.com".to_owned(),
            kind: "A".to_owned(),
            ttl_s: 30,
            values: vec!["\u{1}".repeat(9_000); 100],
            proxied: None,
            weights: vec![1; 100],
        }
    }

    #[test]
    fn a_decision_whose_texts_are_too_long_is_written_with_texts_that_are_cut() {
        // A control character takes six bytes of a line.
        let (region, text) = (Region("eu".to_owned()), "\u{1}".repeat(300 << 10));
        let (step, attempt, done) = (Step::Validate, 1, false);
        let (target, cause, asked) = (Some(region.clone()), Cause::Signal, false);
        let long = [
            Entry::Started { version: text.clone(), mode: text.clone() },
            Entry::Signal { signal: "x".to_owned(), raised: true, detail: text.clone() },
            Entry::Planned { region, target, cause, approved_by: text.clone(), asked, last_healthy: None },
            Entry::Moved { from: Phase::Paged, to: Phase::Acknowledged, why: text.clone() },
            Entry::Command { command: "ack".to_owned(), who: text.clone() },
            Entry::Outcome { step, attempt, done, detail: text.clone() },
            Entry::Intent { step, attempt, calls: vec![text; 100], expected: None, wanted: None },
            Entry::Record { state: long_record() },
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut ledger, _) = Ledger::open(path.clone());
        for entry in &long {
            assert!(ledger.append(UnixMs(5), None, entry) && ledger.failing().is_none());
        }
        drop(ledger);
        let (_, past) = Ledger::open(path);
        let kinds = |entries: &[Entry]| entries.iter().map(std::mem::discriminant).collect::<Vec<_>>();
        let written: Vec<Entry> = past.into_iter().map(|(.., entry)| entry).collect();
        assert_eq!(kinds(&written), kinds(&long));
    }

    #[test]
    fn a_change_whose_announcement_is_too_long_is_not_announced_and_is_no_fault_of_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ledger, _) = Ledger::open(directory.path().join("journal"));
        let (expected, wanted) = (Some(long_record()), Some(long_record()));
        let change = Entry::Intent { step: Step::WriteRecord, attempt: 1, calls: vec![], expected, wanted };
        assert!(!ledger.append(UnixMs(5), None, &change) && ledger.failing().is_none());
        assert!(ledger.append(UnixMs(6), None, &started()));
    }

    #[test]
    fn a_journal_that_cannot_be_opened_is_opened_later_with_all_that_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (mut other, _) = Ledger::open(path.clone());
        assert!(other.append(UnixMs(5), None, &started()));
        // Another process has it.
        let (mut ledger, past) = Ledger::open(path);
        assert!(past.is_empty() && ledger.failing().is_some() && !ledger.append(UnixMs(6), None, &started()));
        assert!(matches!(ledger.mend(UnixMs(10)), Mended::No), "it was tried a moment ago");
        drop(other);
        let Mended::Opened(past) = ledger.mend(UnixMs(RETRY_MS + 10)) else { panic!("it is free now") };
        assert_eq!(past.len(), 1);
        assert!(ledger.failing().is_none() && ledger.append(UnixMs(9000), None, &started()));
    }
}
