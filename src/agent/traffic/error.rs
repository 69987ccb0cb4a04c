//! Why traffic was not moved, and what the person on call does next.

use std::time::Duration;

use super::dns::DnsError;
use crate::agent::command::CommandError;
use crate::agent::https::{CallError, Effect};
use crate::agent::secret::SecretError;
use crate::agent::types::RecordState;

/// Why a record cannot be read or changed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// The provider's API does not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A DNS server does not do it.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The command does not do it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The record is neither what was expected nor what is wanted: someone else changed it.
    #[error(
        "{name} is not what was expected: {}. Somebody or something else changed it, so it was left alone. \
         Find out who; then correct the record or the [agent] section, and run `openclaw-rating failover \
         plan` to see what would be done", .differences.join("; ")
    )]
    Conflict {
        /// The public name.
        name: String,
        /// What differs, in words.
        differences: Vec<String>,
        /// The record as it is.
        found: Box<RecordState>,
    },
    /// It was too late for the change, or it was stopped.
    #[error("the record was left as it is: {0}")]
    NotBegun(String),
    /// The write failed, and reading back shows the old record.
    #[error("the record is still the old one: {0}. It can be tried again")]
    NotDone(Box<Self>),
    /// The provider confirmed the write but still shows the old record.
    #[error(
        "{name} still shows the old value although the change was accepted. Look at the record in the \
         provider's console before you try again"
    )]
    NotApplied {
        /// The public name.
        name: String,
    },
    /// The write failed, and reading back shows something between: a part of it, or somebody else's work.
    #[error(
        "{name} was changed only in part, or somebody else changed it at the same time ({}): {cause} Look at \
         it in the provider's console, and set it by hand", .differences.join("; ")
    )]
    InPart {
        /// The public name.
        name: String,
        /// How it differs from what is wanted, in words.
        differences: Vec<String>,
        /// Why the write failed.
        cause: Box<Self>,
    },
    /// The write may have happened, and reading back failed.
    #[error("nobody knows yet whether the record was changed, since it cannot be read back: {0}")]
    Unknown(Box<Self>),
    /// The provider's record has a form that is not handled, or the configuration does not fit it.
    #[error("{what}. {next}")]
    Unfit {
        /// What is so.
        what: String,
        /// What to do.
        next: String,
    },
    /// The command ended with an error.
    #[error(
        "{command} ended with {status}: {last_words}. See what it says, and run it by hand with the same \
         variables"
    )]
    CommandFailed {
        /// The command.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of its standard error.
        last_words: String,
    },
}

impl TrafficError {
    pub(super) fn unfit(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Unfit { what: what.into(), next: next.into() }
    }

    /// How long the provider asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Call(error) => error.failure().retry_after(),
            Self::NotDone(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Whether the record may have been changed in spite of the error.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Call(error) => error.effect() == Effect::Unknown,
            Self::Dns(error) => error.may_have_happened(),
            Self::Command(error) => !matches!(error, CommandError::NotStarted { .. }),
            Self::CommandFailed { .. } | Self::Unknown(_) | Self::InPart { .. } | Self::NotApplied { .. } => {
                true
            }
            Self::Conflict { .. }
            | Self::NotBegun(_)
            | Self::NotDone(_)
            | Self::Secret(_)
            | Self::Unfit { .. } => false,
        }
    }
}
