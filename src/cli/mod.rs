//! The command line, and the server that `serve` puts together (`foundation`, `kept_tables`, `replication`,
//! `supervision`, `agent`).

mod agent;
mod audit;
mod check_config;
mod describe;
mod doctor;
mod failover;
mod inspect;
mod keygen;
mod load;
mod log;
mod operate;
mod output;
mod report;
mod running;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Sources;

/// The exit code of a command line that makes no sense, as clap has it.
const USAGE: u8 = 2;
/// The exit code for settings that cannot be used, after `sysexits.h`: to try again does not help.
const WRONG_CONFIGURATION: u8 = 78;

/// A rate-limit server for edge hosts.
#[derive(Debug, Parser)]
#[command(name = "openclaw-rating", version)]
struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer rate checks; what is done when no command is named
    Serve,
    /// Print every problem of the configuration, or the settings in effect
    CheckConfig,
    /// See what this host and the settings lack for a server to run, and to run well
    Doctor(doctor::DoctorArguments),
    /// Show or check what the agent wrote down of incidents
    Audit(audit::AuditArguments),
    /// Write the report of an incident again, from what the agent wrote down
    Report(report::ReportArguments),
    /// Show what a running server knows of one bucket
    Inspect(inspect::InspectArguments),
    /// See and steer the failover agent of a running server
    Failover(failover::FailoverArguments),
    /// Have a running server say 503 on /health, and answer checks as before
    Drain(running::ServerArguments),
    /// Have a server that drains by order say 200 again
    Undrain(running::ServerArguments),
    /// Have a running server read its configuration again, as by SIGHUP, and say what is wrong with it
    Reload(running::ServerArguments),
    /// Fill one bucket of a running server
    Reset(operate::ResetArguments),
    /// Make the secret that all nodes of a cluster share
    Keygen(keygen::KeygenArguments),
    /// Ask a server for checks, as many as it answers or at a given rate, and report
    Load(Box<load::LoadArguments>),
}

#[derive(Debug, Args)]
struct ConfigArguments {
    /// The configuration file; else the one in OPENCLAW_RATING_CONFIG, else ./openclaw-rating.toml,
    /// else the built-in defaults
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Override a setting: `server.threads=2`, `policy.login.burst=50`. The environment can too:
    /// OPENCLAW_RATING__SERVER__THREADS=2
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
}

impl ConfigArguments {
    const fn is_given(&self) -> bool {
        self.config.is_some() || !self.sets.is_empty()
    }
}

impl Command {
    /// The name of a command that has no use for settings.
    const fn without_configuration(&self) -> Option<&'static str> {
        match self {
            Self::Keygen(_) => Some("keygen"),
            Self::Load(_) => Some("load"),
            _ => None,
        }
    }
}

/// Runs the program as its command line says.
#[must_use]
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve);
    if let Some(name) = command.without_configuration()
        && arguments.config.is_given()
    {
        output::complain(&format!("error: `{name}` reads no configuration: leave out --config and --set"));
        return ExitCode::from(USAGE);
    }
    let sources = Sources::of_process(arguments.config.config, arguments.config.sets);
    match command {
        Command::Serve => serve::run(&sources),
        Command::CheckConfig => check_config::run(&sources),
        Command::Doctor(arguments) => doctor::run(&arguments, &sources),
        Command::Audit(arguments) => audit::run(&arguments, &sources),
        Command::Report(arguments) => report::run(&arguments, &sources),
        Command::Inspect(arguments) => inspect::run(&arguments, &sources),
        Command::Failover(arguments) => failover::run(&arguments, &sources),
        Command::Drain(server) => operate::drain(&server, &sources, true),
        Command::Undrain(server) => operate::drain(&server, &sources, false),
        Command::Reload(server) => operate::reload(&server, &sources),
        Command::Reset(arguments) => operate::reset(&arguments, &sources),
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn settings_may_come_before_or_after_the_subcommand() {
        for line in ["x --config a.toml check-config", "x check-config --config a.toml"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.config.config, Some(PathBuf::from("a.toml")));
        }
    }
}
