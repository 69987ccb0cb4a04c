//! `serve`: reads the configuration and runs a server by it.

use std::process::ExitCode;

use tracing::error;

use super::{WRONG_CONFIGURATION, log, output};
use crate::config::{self, Sources};
use crate::server;
use crate::service_manager::Handed;

pub(super) fn run(sources: &Sources) -> ExitCode {
    // First of all: descriptors that were handed over are nobody's until then.
    let handed = Handed::to_process(|name| std::env::var(name).ok());
    if let Err(error) = server::survive_full_files() {
        return output::fail(&server::ServeError::Signals(error));
    }
    let config = match config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            output::complain(&problems);
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    log::start(config.log_level);
    let Err(error) = server::run(config, sources, handed) else { return ExitCode::SUCCESS };
    error!("{error}");
    if error.is_of_configuration() { ExitCode::from(WRONG_CONFIGURATION) } else { ExitCode::FAILURE }
}
