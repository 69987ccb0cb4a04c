//! `check-config`: every problem at once, or the settings in effect.

use std::process::ExitCode;

use super::{describe, output};
use crate::config::{self, Sources};

pub(super) fn run(sources: &Sources) -> ExitCode {
    match config::check(sources) {
        Ok(config) => output::end_with(&describe::summary(&config), ExitCode::SUCCESS),
        Err(problems) => output::fail(&problems),
    }
}
