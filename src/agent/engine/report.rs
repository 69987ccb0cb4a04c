//! The report of an incident, from what was written down and measured.

use std::path::PathBuf;
use std::sync::Arc;

use crate::agent::history::{Prometheus, Series};
use crate::agent::journal::{Line, utc, words_of};
use crate::agent::types::{IncidentId, UnixMs};

const AROUND_MS: u64 = 600_000;

/// What a report is made of.
pub(super) struct ReportJob {
    pub(super) directory: PathBuf,
    pub(super) incident: IncidentId,
    pub(super) lines: Vec<Line>,
    pub(super) series: Vec<Series>,
    pub(super) prometheus: Option<Arc<Prometheus>>,
}

/// The time that a report of the incident shows.
pub(super) fn window_of(_incident: &IncidentId, lines: &[Line]) -> Option<(UnixMs, UnixMs)> {
    let (first, last) = (lines.first()?, lines.last()?);
    Some((UnixMs(first.at.0.saturating_sub(AROUND_MS)), last.at.after_ms(AROUND_MS)))
}

/// Writes it; where it is.
pub(super) fn write_report(job: ReportJob) -> Result<String, String> {
    let ReportJob { directory, incident, lines, series, prometheus } = job;
    let _ = (series, prometheus);
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let path = directory.join(format!("{}.md", incident.0));
    let text: Vec<String> =
        lines.iter().map(|line| format!("- {} {}", utc(line.at), words_of(&line.logged))).collect();
    std::fs::write(&path, text.join("\n")).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}
