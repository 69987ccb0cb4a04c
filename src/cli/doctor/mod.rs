//! `doctor`: what this host and the settings lack for the server to run, and to run well.
//!
//! What is read of the system (`host`, `places`) is apart from what is thought of it (`judge`), so that the latter is
//! tested without such hosts. Nothing is changed: an address is bound for a moment and never listened on.

mod finding;
mod host;
mod judge;
mod places;

use std::process::ExitCode;

use clap::Args;

use super::output::end_with;
use crate::config::{self, Sources};
use crate::limits;
use finding::{Finding, Report};
use host::Host;

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &DoctorArguments, sources: &Sources) -> ExitCode {
    // As the server does: it is judged by what it could have.
    limits::raise_limits();
    let report = Report { findings: examine(sources) };
    let text = if arguments.json { report.json() + "\n" } else { report.to_string() };
    end_with(&text, if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(sources: &Sources) -> Vec<Finding> {
    let mut findings = judge::host(&Host::read());
    match config::check(sources) {
        Ok(config) => findings.extend(places::examine(&config)),
        // The host is worth a look all the same.
        Err(problems) => findings.push(judge::unusable_configuration(&problems)),
    }
    findings
}
