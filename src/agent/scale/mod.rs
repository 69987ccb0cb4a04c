//! More of the standby: the scale of a Kubernetes workload, or a command.
//!
//! A [`Scaler`] only raises, never lowers, and never above its ceiling. That it is done once an incident
//! is for the runbook to see to.

mod command;
mod kubernetes;

pub use command::CommandScaler;
pub use kubernetes::{KubernetesScaler, Workload};

use crate::agent::command::CommandError;
use crate::agent::https::{CallError, Effect};
use crate::agent::secret::SecretError;

/// What a request for more did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// There will be more.
    Raised {
        /// How many there were.
        from: u32,
        /// How many are wanted now.
        to: u32,
    },
    /// There are enough already, or the ceiling is reached.
    Enough {
        /// How many there are.
        replicas: u32,
    },
}

/// Why there will not be more. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// The API does not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The command does not run.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Someone else scaled at the same time, again and again.
    #[error(
        "somebody else changes the scale of {workload} at the same time. If that is an autoscaler, raise its \
         minimum instead, and see what else writes to it"
    )]
    Contended {
        /// The workload.
        workload: String,
    },
    /// The command ended with an error.
    #[error("{command} ended with {status}: {last_words}. Run it by hand with the same variables")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of its standard error.
        last_words: String,
    },
}

impl ScaleError {
    /// Whether there may be more nevertheless: it is not asked for again then.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        match self {
            Self::Call(error) => matches!(error.effect(), Effect::Unknown),
            Self::Command(error) => !matches!(error, CommandError::NotStarted { .. }),
            Self::Failed { .. } => true,
            Self::Secret(_) | Self::Contended { .. } => false,
        }
    }
}

/// Something that runs in a number.
pub trait Scaler {
    /// Asks for `wanted`, or for the ceiling where that is less.
    fn raise(&mut self, wanted: u32) -> Result<Scaled, ScaleError>;

    /// Exactly the calls that would be made, one a line, without secrets.
    fn plan(&self, wanted: u32) -> Vec<String>;
}
