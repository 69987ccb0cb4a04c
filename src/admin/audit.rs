//! The end of the agent's journal.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::Refusal;
use crate::agent::journal::{Reader, json_of};

/// As many lines are given when nobody says how many.
pub(super) const USUAL_LINES: usize = 100;
/// No more are given: the rest is for `openclaw-rating audit show`.
pub(super) const MAX_LINES: usize = 1000;

/// The last lines of the journal, and whether all of it is sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Whether each line follows the one before and none is missing.
    pub sound: bool,
    /// The first that does not, where it is and what that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Lines in all that could be read.
    pub total: u64,
    /// The last of them, oldest first: `seq`, `at` in milliseconds since 1970, `incident`, `entry`.
    pub lines: Vec<Value>,
}

/// Reads and checks all of the journal in `directory`, and gives its last `most` lines.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn last_lines(directory: &Path, most: usize) -> Result<AuditReport, Refusal> {
    let reader = Reader::open(directory).map_err(|error| Refusal::NoJournal(error.to_string()))?;
    let mut last = VecDeque::with_capacity(most);
    let mut report = AuditReport { sound: true, fault: None, total: 0, lines: Vec::new() };
    for item in reader {
        match item {
            Ok((_, line)) => {
                report.total += 1;
                if last.len() == most {
                    last.pop_front();
                }
                last.push_back(line);
            }
            Err(error) => {
                report.sound = false;
                report.fault.get_or_insert_with(|| error.to_string());
            }
        }
    }
    report.lines = last.iter().map(json_of).collect();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::journal::{Journal, Options};
    use crate::agent::types::{Entry, UnixMs};

    #[test]
    fn the_last_lines_are_given_and_a_changed_one_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let empty = AuditReport { sound: true, fault: None, total: 0, lines: vec![] };
        assert_eq!(last_lines(directory.path(), 3), Ok(empty));
        let mut journal = Journal::open(directory.path(), Options::default()).unwrap();
        for at in 1..=5 {
            let entry = Entry::Command { command: "ack".to_owned(), who: format!("who-{at}") };
            journal.append(UnixMs(at), None, &entry).unwrap();
        }
        let report = last_lines(directory.path(), 2).unwrap();
        assert!(report.sound && report.total == 5, "{report:?}");
        let [fourth, fifth] = report.lines.as_slice() else { panic!("{report:?}") };
        assert_eq!((&fourth["seq"], &fifth["at"]), (&json!(4), &json!(5)));
        assert_eq!((&fifth["entry"]["who"], &fifth["incident"]), (&json!("who-5"), &Value::Null));
        let file = std::fs::read_dir(directory.path()).unwrap().find_map(|file| {
            let path = file.unwrap().path();
            std::fs::read_to_string(&path).ok().filter(|text| text.contains("who-3")).map(|text| (path, text))
        });
        let (path, text) = file.unwrap();
        std::fs::write(path, text.replace("who-3", "who-x")).unwrap();
        let report = last_lines(directory.path(), 9).unwrap();
        assert!(!report.sound && report.fault.is_some(), "{report:?}");
        assert!(matches!(last_lines(Path::new("/dev/null"), 1), Err(Refusal::NoJournal(_))));
    }
}
