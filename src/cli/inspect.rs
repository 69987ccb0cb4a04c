//! `inspect`: all that a running server knows of one bucket.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::admin::client;
use crate::config::{self, Sources};

/// Where the unit file puts it.
const USUAL_SOCKET: &str = "/run/openclaw-rating/admin.sock";

#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// The policy's name
    policy: String,
    /// The key, as it is (not percent-encoded)
    key: String,
    /// The server's admin socket; else that of the configuration, else /run/openclaw-rating/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &InspectArguments, sources: &Sources) -> ExitCode {
    let socket = socket(arguments.socket.as_ref(), sources);
    match client::bucket(&socket, &arguments.policy, arguments.key.as_bytes()) {
        Ok(report) if arguments.json => match serde_json::to_string(&report) {
            Ok(json) => {
                println!("{json}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        },
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

/// A configuration that cannot be read here, for want of permission, does not stop who knows the usual place.
fn socket(named: Option<&PathBuf>, sources: &Sources) -> PathBuf {
    let configured = || config::load(sources).ok().and_then(|config| config.admin.socket);
    named.cloned().or_else(configured).unwrap_or_else(|| PathBuf::from(USUAL_SOCKET))
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
