//! Puts a report into its files, each whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::{html, markdown};
use crate::agent::history::Series;
use crate::agent::journal::Line;
use crate::agent::types::IncidentId;
use crate::files;

/// Enough for a plot of any width.
const MAX_POINTS: usize = 1500;
/// What 64 keys and 16 regions take, and as much again.
const MAX_SERIES_BYTES: u64 = 32 << 20;
const MAX_ID_BYTES: usize = 128;

/// What the files of a report are called after the incident and a dot.
pub(super) const SUFFIXES: [&str; 3] = ["series.json", "md", "html"];

/// The files of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `<incident>.md`.
    pub markdown: PathBuf,
    /// `<incident>.html`.
    pub html: PathBuf,
    /// `<incident>.series.json`, when there is a history.
    pub series: Option<PathBuf>,
}

/// Why there is no report. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The journal has no line of it.
    #[error(
        "the journal has nothing of an incident `{0}`. `openclaw-rating audit show` lists what there is, \
         with the ids of incidents"
    )]
    NoSuchIncident(String),
    /// It would not be a file's name.
    #[error("`{0}` is no incident's id: letters, digits, `-`, `_` and `.` only, and no `.` at the beginning")]
    BadId(String),
    /// The kept history is not readable.
    #[error("{path} is not the history of an incident: {why}. Remove it to have the report without plots")]
    BadSeries {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk does not do it.
    #[error("cannot write {path}: {source}. Check that there is room and that this user may write there")]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    incident: IncidentId,
    series: Vec<Series>,
}

/// Writes the report of `incident` from its journal's lines into `directory`.
///
/// `history` is kept beside the report; without one, what was kept by an earlier call is used.
///
/// # Errors
/// When there is nothing to report, or the files cannot be written; older ones are then as they were.
pub fn write(
    directory: &Path,
    incident: &IncidentId,
    lines: &[Line],
    history: Option<&[Series]>,
) -> Result<Written, ReportError> {
    let name = file_name(incident)?;
    let facts = Facts::new(incident, lines).ok_or_else(|| ReportError::NoSuchIncident(incident.0.clone()))?;
    fs::create_dir_all(directory).map_err(|source| disk(directory, source))?;
    let [series_path, markdown, html] = SUFFIXES.map(|suffix| directory.join(format!("{name}.{suffix}")));
    if let Some(history) = history {
        replace(&series_path, kept_text(incident, history).as_bytes())?;
    }
    // Read back also when just written: what is drawn is then what a later call draws.
    let series = read_series(&series_path)?;
    let known = series.as_deref().unwrap_or_default();
    replace(&markdown, markdown::render(&facts, known).as_bytes())?;
    replace(&html, html::render(&facts, known).as_bytes())?;
    Ok(Written { markdown, html, series: series.map(|_| series_path) })
}

/// An id is part of a file's name, and it may come from a command line.
fn file_name(incident: &IncidentId) -> Result<&str, ReportError> {
    let name = incident.0.as_str();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_good = is_plain && !name.is_empty() && name.len() <= MAX_ID_BYTES && !name.starts_with('.');
    if is_good { Ok(name) } else { Err(ReportError::BadId(name.escape_debug().take(MAX_ID_BYTES).collect())) }
}

fn kept_text(incident: &IncidentId, history: &[Series]) -> String {
    let series = history.iter().map(|series| series.downsampled(MAX_POINTS)).collect();
    // Values are finite or gaps, so there is nothing that JSON does not have.
    serde_json::to_string(&Kept { incident: incident.clone(), series }).unwrap_or_default()
}

fn read_series(path: &Path) -> Result<Option<Vec<Series>>, ReportError> {
    let bad = |why: String| ReportError::BadSeries { path: path.to_owned(), why };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|error| bad(error.to_string()))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_SERIES_BYTES + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > MAX_SERIES_BYTES {
        return Err(bad("it is longer than 32 MiB".to_owned()));
    }
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    Ok(Some(kept.series))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    files::replace(path, 0o640, bytes).map_err(|source| disk(path, source))
}

fn disk(path: &Path, source: io::Error) -> ReportError {
    ReportError::Disk { path: path.to_owned(), source }
}
