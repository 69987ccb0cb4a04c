//! `drain`, `undrain`, `reload`, `reset`: what a person does to a running server.

use std::process::ExitCode;

use clap::Args;

use super::running::ServerArguments;
use crate::admin::{Reloaded, client};
use crate::config::Sources;
use crate::counted::counted;

#[derive(Debug, Args)]
pub(super) struct ResetArguments {
    /// The policy's name
    policy: String,
    /// The key, as it is (not percent-encoded)
    key: String,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) fn drain(server: &ServerArguments, sources: &Sources, on: bool) -> ExitCode {
    server.ask(sources, |socket| client::drain(socket, on), |drained| format!("{}\n", drained.what))
}

pub(super) fn reload(server: &ServerArguments, sources: &Sources) -> ExitCode {
    server.ask(sources, client::reload, in_words)
}

pub(super) fn reset(arguments: &ResetArguments, sources: &Sources) -> ExitCode {
    let ResetArguments { policy, key, server } = arguments;
    server.ask(sources, |socket| client::reset(socket, policy, key.as_bytes()), ToString::to_string)
}

fn in_words(reloaded: &Reloaded) -> String {
    let mut text = format!("reloaded: {} in force\n", counted(reloaded.policies, "policy", "policies"));
    if !reloaded.waiting_for_restart.is_empty() {
        let sections = reloaded.waiting_for_restart.join("], [");
        text.push_str(&format!("changes in [{sections}] take effect at the next restart\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_says_what_still_waits() {
        let waiting = vec!["server".to_owned(), "log".to_owned()];
        let text = in_words(&Reloaded { policies: 2, waiting_for_restart: waiting });
        assert!(text.contains("2 policies") && text.contains("[server], [log] take effect"), "{text}");
        let one = in_words(&Reloaded { policies: 1, waiting_for_restart: vec![] });
        assert_eq!(one, "reloaded: 1 policy in force\n");
    }
}
