//! A command of the operator's that knows how to get more.

use super::{ScaleError, Scaled, Scaler};
use crate::agent::command::{CommandLine, last_line};

/// Runs a command with `OPENCLAW_REPLICAS` set.
#[derive(Debug)]
pub struct CommandScaler {
    /// The command.
    pub command: CommandLine,
    /// How many there are without asking; the command itself knows better.
    pub usual: u32,
    /// Never more than this.
    pub ceiling: u32,
}

impl Scaler for CommandScaler {
    fn raise(&mut self, wanted: u32) -> Result<Scaled, ScaleError> {
        let to = wanted.min(self.ceiling);
        if to <= self.usual {
            return Ok(Scaled::Enough { replicas: self.usual });
        }
        let mut command = self.command.clone();
        command.environment.push(("OPENCLAW_REPLICAS".to_owned(), to.to_string()));
        let finished = command.run()?;
        if !finished.status.success() {
            return Err(ScaleError::Failed {
                command: self.command.shown(),
                status: finished.status.to_string(),
                last_words: last_line(&finished.stderr),
            });
        }
        Ok(Scaled::Raised { from: self.usual, to })
    }

    fn plan(&self, wanted: u32) -> Vec<String> {
        vec![format!("OPENCLAW_REPLICAS={} {}", wanted.min(self.ceiling), self.command.shown())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(script: &str) -> CommandScaler {
        CommandScaler { command: CommandLine::new("/bin/sh", ["-c", script]), usual: 2, ceiling: 5 }
    }

    #[test]
    fn the_command_is_told_a_number_below_the_ceiling() {
        let mut five = scaler("test \"$OPENCLAW_REPLICAS\" = 5");
        assert_eq!(five.raise(9).unwrap(), Scaled::Raised { from: 2, to: 5 });
        assert!(five.plan(9).concat().starts_with("OPENCLAW_REPLICAS=5 /bin/sh"));
        assert_eq!(scaler("exit 1").raise(2).unwrap(), Scaled::Enough { replicas: 2 });
    }

    #[test]
    fn a_command_that_fails_is_quoted() {
        let error = scaler("echo no quota >&2; exit 7").raise(4).unwrap_err();
        assert!(error.may_have_happened(), "it may have failed after its work");
        let text = error.to_string();
        assert!(text.contains("no quota") && text.contains("by hand"), "{text}");
    }
}
