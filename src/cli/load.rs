//! `load`: asks a server for checks, as many as it answers or at a given rate, and reports.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::USAGE;
use super::output::{complain, end_with, fail};
use crate::config;
use crate::load::{self, Distribution, Plan, Progress, Settings, Target};

/// How long a run takes when neither a duration nor a number of requests is given.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

const EXIT_CODES: &str = "Exit codes: 0 when every request was answered by 200 or 429; 1 when the server \
    cannot be reached, nothing was answered, or there were errors; 2 when the options make no sense.";

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct LoadArguments {
    /// The server: `http://HOST:PORT` or `unix:PATH`
    #[arg(default_value = "http://127.0.0.1:8080")]
    target: Target,
    /// The policy to ask for
    #[arg(long, default_value = "default", value_name = "NAME")]
    policy: String,
    /// Connections, of all threads together
    #[arg(long, short, default_value_t = 64, value_name = "N")]
    connections: u32,
    /// Requests under way on a connection at one time
    #[arg(long, default_value_t = 1, value_name = "N")]
    pipeline: u32,
    /// Requests a second, sent at their times whatever the server does (open loop); without it each
    /// connection asks again when it is answered (closed loop)
    #[arg(long, short, value_name = "N")]
    rate: Option<u64>,
    /// How long requests are sent, such as `30s`; 10s when neither this nor --requests is given
    #[arg(long, short, value_name = "TIME", value_parser = config::parse_duration)]
    duration: Option<Duration>,
    /// How many requests are sent at most
    #[arg(long, short = 'n', value_name = "N")]
    requests: Option<u64>,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    keys: u64,
    /// How often each key is asked for: `uniform` or `zipf:EXPONENT`
    #[arg(long, default_value = "uniform", value_name = "LAW")]
    distribution: Distribution,
    /// What all keys begin with
    #[arg(long, default_value = "load-", value_name = "TEXT")]
    key_prefix: String,
    /// Tokens of a request
    #[arg(long, default_value_t = 1, value_name = "N")]
    cost: u64,
    /// Threads
    #[arg(long, short, default_value_t = 1, value_name = "N")]
    threads: u32,
    /// Keep each thread to a core of its own, the last core first
    #[arg(long)]
    pin: bool,
    /// Where the pseudo-random keys start: the same seed asks for the same keys
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// How long an answer, or a connection, may take
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = config::parse_duration)]
    timeout: Duration,
    /// Failures in a row after which a connection is given up
    #[arg(long, default_value_t = 10, value_name = "N")]
    attempts: u32,
    /// Print the outcome as one JSON object
    #[arg(long)]
    json: bool,
    /// Print a line a second on stderr even when that is no terminal
    #[arg(long)]
    progress: bool,
}

impl LoadArguments {
    fn settings(&self) -> Settings {
        let default_duration = self.requests.is_none().then_some(DEFAULT_DURATION);
        Settings {
            target: self.target.clone(),
            host: None,
            policy: self.policy.clone(),
            connections: self.connections,
            pipeline: self.pipeline,
            rate: self.rate,
            duration: self.duration.or(default_duration),
            requests: self.requests,
            keys: self.keys,
            distribution: self.distribution,
            key_prefix: self.key_prefix.clone(),
            cost: self.cost,
            threads: self.threads,
            pin: self.pin,
            seed: self.seed,
            timeout: self.timeout,
            attempts: self.attempts,
        }
    }
}

pub(super) fn run(arguments: &LoadArguments) -> ExitCode {
    let plan = match Plan::new(arguments.settings()) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("error: {error}"));
            return ExitCode::from(USAGE);
        }
    };
    crate::limits::raise_limits();
    match stop_on_signals().map_err(Into::into).and_then(|stop| carry_out(&plan, &stop, arguments)) {
        Ok(code) => code,
        Err(error) => fail(&format!("error: {error}")),
    }
}

/// Runs and prints.
fn carry_out(
    plan: &Plan,
    stop: &AtomicBool,
    arguments: &LoadArguments,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let live = LiveLine::new(arguments.progress);
    let summary = load::run(plan, stop, |progress| live.show(progress))?;
    live.clear();
    let mut text = if arguments.json { load::json(plan, &summary)? } else { load::table(plan, &summary) };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let code = if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(end_with(&text, code))
}

/// Set by the first signal to end; the second ends the process at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>, std::io::Error> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// How progress is shown.
enum LiveLine {
    /// One line that is written over.
    Rewritten,
    /// A line a time.
    Appended,
    /// Not at all.
    Hidden,
}

impl LiveLine {
    fn new(wanted: bool) -> Self {
        match (wanted, std::io::stderr().is_terminal()) {
            (true, _) => Self::Appended,
            (false, true) => Self::Rewritten,
            (false, false) => Self::Hidden,
        }
    }

    fn show(&self, progress: &Progress<'_>) {
        // A terminal that is gone is no reason to end a run.
        let _ = match self {
            Self::Rewritten => write!(std::io::stderr(), "\r\x1b[K{}", load::live_line(progress)),
            Self::Appended => writeln!(std::io::stderr(), "{}", load::live_line(progress)),
            Self::Hidden => Ok(()),
        };
    }

    fn clear(&self) {
        if matches!(self, Self::Rewritten) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
