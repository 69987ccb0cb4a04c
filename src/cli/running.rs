//! What commands that speak with a running server have in common.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::output::{end_with, fail};
use crate::admin::client::AskError;
use crate::config::{self, Sources};

/// Where the unit file puts it.
const USUAL_SOCKET: &str = "/run/openclaw-rating/admin.sock";

#[derive(Clone, Debug, Args)]
pub(super) struct ServerArguments {
    /// The server's admin socket; else that of the configuration, else /run/openclaw-rating/admin.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl ServerArguments {
    /// A configuration that cannot be read here, for want of permission, does not stop who knows the usual
    /// place.
    pub(super) fn socket(&self, sources: &Sources) -> PathBuf {
        let configured = || config::load(sources).ok().and_then(|config| config.admin.socket);
        self.socket.clone().or_else(configured).unwrap_or_else(|| PathBuf::from(USUAL_SOCKET))
    }

    /// Prints an answer, in words or as JSON; what goes wrong goes to standard error.
    pub(super) fn show<T: Serialize>(
        &self,
        answer: Result<T, AskError>,
        in_words: impl FnOnce(&T) -> String,
    ) -> ExitCode {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return fail(&error),
        };
        let text = match self.json {
            false => in_words(&answer),
            true => match serde_json::to_string(&answer) {
                Ok(json) => format!("{json}\n"),
                Err(error) => return fail(&error),
            },
        };
        end_with(&text, ExitCode::SUCCESS)
    }
}
