//! The report of an incident, from what was written down and measured.

use std::path::PathBuf;
use std::sync::Arc;

use crate::agent::history::{Prometheus, Series};
use crate::agent::journal::Line;
use crate::agent::report::{self, Facts};
use crate::agent::types::{IncidentId, UnixMs};

/// What a report is made of.
pub(super) struct ReportJob {
    pub(super) directory: PathBuf,
    /// Reports of so many incidents are left in it.
    pub(super) keep: usize,
    pub(super) incident: IncidentId,
    pub(super) lines: Vec<Line>,
    /// Of the server's own history.
    pub(super) series: Vec<Series>,
    pub(super) prometheus: Option<Arc<Prometheus>>,
}

/// The time that a report of the incident shows.
pub(super) fn window_of(incident: &IncidentId, lines: &[Line]) -> Option<(UnixMs, UnixMs)> {
    Facts::new(incident, lines).as_ref().map(report::window)
}

/// Writes it and says where. Prometheus fills in what the built-in history lacks.
pub(super) fn write_report(job: ReportJob) -> Result<String, String> {
    let ReportJob { directory, keep, incident, lines, mut series, prometheus } = job;
    let mut remark = String::new();
    if let Some((prometheus, (from, to))) = prometheus.zip(window_of(&incident, &lines)) {
        match prometheus.range(from, to) {
            Ok(found) => {
                let is_missing = |one: &Series| !series.iter().any(|own| own.measure == one.measure);
                let more: Vec<Series> = found.into_iter().filter(is_missing).collect();
                series.extend(more);
            }
            Err(error) => remark = format!("; without Prometheus: {error}"),
        }
    }
    let written = report::write(&directory, &incident, &lines, Some(&series));
    let written = written.map_err(|error| error.to_string())?;
    if let Err(error) = report::prune(&directory, keep, &incident) {
        remark.push_str(&format!("; older reports in {} could not be removed: {error}", directory.display()));
    }
    Ok(format!("{} and {}{remark}", written.markdown.display(), written.html.display()))
}
