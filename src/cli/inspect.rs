//! `inspect`: all that a running server knows of one bucket.

use std::process::ExitCode;

use clap::Args;

use super::running::ServerArguments;
use crate::admin::client;
use crate::config::Sources;

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// The policy's name
    policy: String,
    /// The key, as it is (not percent-encoded)
    key: String,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) fn run(arguments: &InspectArguments, sources: &Sources) -> ExitCode {
    let InspectArguments { policy, key, server } = arguments;
    server.ask(sources, |socket| client::bucket(socket, policy, key.as_bytes()), ToString::to_string)
}
