//! `report`: the report of an incident once more, from the journal.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::audit::{self, Where};
use super::output::{end_with, fail};
use crate::agent::report;
use crate::agent::types::IncidentId;
use crate::config::Sources;

const REPORTS: &str = "reports";

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The incident's id, as `audit show` has it
    incident: String,
    #[command(flatten)]
    place: Where,
    /// Where to write it; else `reports` beside the journal's directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &ReportArguments, sources: &Sources) -> ExitCode {
    let directory = arguments.place.directory(sources);
    let out = arguments.out.clone().unwrap_or_else(|| directory.with_file_name(REPORTS));
    let incident = IncidentId(arguments.incident.clone());
    let reader = match audit::open(&directory) {
        Ok(reader) => reader,
        Err(code) => return code,
    };
    let (mut lines, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for item in reader {
        match item {
            Ok((_, line)) if line.incident.as_ref() == Some(&incident) => lines.push(line),
            Ok(_) => {}
            // The sound lines still make a report, but nobody should take it for the whole.
            Err(error) => code = fail(&error),
        }
    }
    match report::write(&out, &incident, &lines, None) {
        Ok(written) => {
            let mut text = format!("{}\n{}\n", written.markdown.display(), written.html.display());
            if written.series.is_none() {
                text.push_str("there is no history of that time, so it has no plots\n");
            }
            end_with(&text, code)
        }
        Err(error) => fail(&error),
    }
}
