//! What the other threads tell the agent's own.

use super::caller::Heard;
use crate::agent::runbook::{Ended, TaskId};
use crate::agent::signals::Observation;

/// A task that ended.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    /// The task that ended.
    pub task: TaskId,
    /// Its outcome.
    pub ended: Ended,
}

/// One thing told.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// A look ended.
    Seen(Observation),
    /// A task ended.
    Finished(Finished),
    /// The caller has news.
    Heard(Heard),
    /// Other secrets than before cannot be read.
    Secrets(UnusableSecrets),
}

/// The secrets that cannot be read now: why, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnusableSecrets(pub(super) Vec<String>);

impl From<UnusableSecrets> for Message {
    fn from(unusable: UnusableSecrets) -> Self {
        Self::Secrets(unusable)
    }
}

impl From<Observation> for Message {
    fn from(observation: Observation) -> Self {
        Self::Seen(observation)
    }
}

impl From<Finished> for Message {
    fn from(finished: Finished) -> Self {
        Self::Finished(finished)
    }
}

impl From<Heard> for Message {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Sent(finished) => Self::Finished(finished),
            other => Self::Heard(other),
        }
    }
}
