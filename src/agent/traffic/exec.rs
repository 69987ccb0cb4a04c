//! A command of the operator's that knows where traffic goes.
//!
//! It is run with `OPENCLAW_ACTION` `read`, `write` or `visible`, and with `OPENCLAW_NAME`,
//! `OPENCLAW_TYPE`, `OPENCLAW_TTL_S`, and, for a write, `OPENCLAW_EXPECTED` and `OPENCLAW_WANTED`
//! (values with spaces between). `read` prints the values, one a line. Exit status 0 is success; for
//! `write`, 3 says that the record was not as expected and was left alone; for `visible`, 4 says not yet.

use super::{POOLS, TrafficError, TrafficProvider, Visibility};
use crate::agent::command::{CommandLine, Finished, last_line};
use crate::agent::types::RecordState;

const EXIT_CONFLICT: i32 = 3;
const EXIT_NOT_YET: i32 = 4;
/// More than any name has.
const MAX_VALUES: usize = 64;

/// Runs a command for each step.
#[derive(Debug)]
pub struct ExecProvider {
    /// The command, without the variables that say what to do.
    pub command: CommandLine,
    /// The public name.
    pub name: String,
    /// `A`, `AAAA`, `CNAME` or `POOLS`.
    pub kind: String,
    /// The TTL that goes with a write, in seconds.
    pub ttl_s: u32,
}

impl ExecProvider {
    fn variables(&self, action: &str, states: &[(&str, &RecordState)]) -> Vec<(String, String)> {
        let mut variables = vec![
            ("OPENCLAW_ACTION".to_owned(), action.to_owned()),
            ("OPENCLAW_NAME".to_owned(), self.name.clone()),
            ("OPENCLAW_TYPE".to_owned(), self.kind.clone()),
            ("OPENCLAW_TTL_S".to_owned(), self.ttl_s.to_string()),
        ];
        variables.extend(states.iter().map(|(name, state)| ((*name).to_owned(), state.values.join(" "))));
        variables
    }

    fn run(&self, variables: Vec<(String, String)>) -> Result<Finished, TrafficError> {
        let mut command = self.command.clone();
        command.environment.extend(variables);
        Ok(command.run()?)
    }

    fn failed(&self, finished: &Finished) -> TrafficError {
        TrafficError::CommandFailed {
            command: self.command.shown(),
            status: finished.status.to_string(),
            last_words: last_line(&finished.stderr),
        }
    }
}

impl TrafficProvider for ExecProvider {
    fn read(&mut self) -> Result<RecordState, TrafficError> {
        let finished = self.run(self.variables("read", &[]))?;
        if !finished.status.success() {
            return Err(self.failed(&finished));
        }
        let lines = finished.stdout.lines().map(str::trim).filter(|line| !line.is_empty());
        let values: Vec<String> = lines.take(MAX_VALUES).map(str::to_owned).collect();
        if values.is_empty() || values.iter().any(|value| value.contains(char::is_whitespace)) {
            return Err(TrafficError::unfit(
                format!("{} does not print values, one a line, when it is to read", self.command.shown()),
                "Run it by hand with OPENCLAW_ACTION=read and see what it prints",
            ));
        }
        Ok(RecordState {
            name: self.name.clone(),
            kind: self.kind.clone(),
            ttl_s: self.ttl_s,
            values,
            proxied: None,
            weights: Vec::new(),
        })
    }

    fn put(&mut self, expected: &RecordState, wanted: &RecordState) -> Result<(), TrafficError> {
        let states = [("OPENCLAW_EXPECTED", expected), ("OPENCLAW_WANTED", wanted)];
        let finished = self.run(self.variables("write", &states))?;
        match finished.status.code() {
            Some(0) => Ok(()),
            Some(EXIT_CONFLICT) => {
                let found = self.read()?;
                let differences = vec![format!("the command says so: {}", last_line(&finished.stderr))];
                Err(TrafficError::Conflict { name: self.name.clone(), differences, found: Box::new(found) })
            }
            _ => Err(self.failed(&finished)),
        }
    }

    fn visible(&mut self, wanted: &RecordState) -> Result<Visibility, TrafficError> {
        let finished = self.run(self.variables("visible", &[("OPENCLAW_WANTED", wanted)]))?;
        match finished.status.code() {
            Some(0) => Ok(Visibility::Shown),
            Some(EXIT_NOT_YET) => Ok(Visibility::Pending(last_line(&finished.stderr))),
            _ => Err(self.failed(&finished)),
        }
    }

    fn plan(&self, expected: &RecordState, wanted: &RecordState) -> Vec<String> {
        let line = |action, states: &[(&str, &RecordState)]| {
            let variables =
                self.variables(action, states).into_iter().map(|(name, value)| format!("{name}='{value}'"));
            format!("{} {}", variables.collect::<Vec<_>>().join(" "), self.command.shown())
        };
        let states = [("OPENCLAW_EXPECTED", expected), ("OPENCLAW_WANTED", wanted)];
        vec![line("read", &[]), line("write", &states), line("read", &[])]
    }

    fn limits(&self, ttl_s: u32) -> Vec<String> {
        let what = if self.kind == POOLS { "pools" } else { "addresses" };
        vec![
            format!(
                "the command must compare OPENCLAW_EXPECTED with the {what} that are there before it writes, \
                 and exit with {EXIT_CONFLICT} when they differ"
            ),
            format!("it is killed with all it started after {} s", self.command.timeout.as_secs()),
            format!(
                "clients keep the old answer for up to its TTL ({ttl_s} s by [agent.traffic] or \
                 [agent.drill])"
            ),
        ]
    }
}
