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
    let socket = arguments.server.socket(sources);
    let answer = client::bucket(&socket, &arguments.policy, arguments.key.as_bytes());
    arguments.server.show(answer, ToString::to_string)
}
