//! Who is told: chat rooms and webhooks. It informs and decides nothing.
//!
//! A [`Notifier`] keeps one message an incident: it is edited, or answered in its thread, as the
//! incident moves on. [`Summariser`] may have a language model write the text; a template stands in
//! whenever that does not work in time.

mod slack;
mod summary;
mod telegram;
mod threads;
mod webhook;

pub use slack::{Slack, SlackBot, SlackRoute};
pub use summary::{Facts, Summariser, Summary, template};
pub use telegram::Telegram;
pub use webhook::Webhook;

use crate::agent::https::CallError;
use crate::agent::secret::SecretError;
use crate::agent::types::IncidentId;

/// What there is to tell of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which incident.
    pub incident: IncidentId,
    /// One line: what is so now.
    pub headline: String,
    /// What happened since the last update, one line each.
    pub steps: Vec<String>,
    /// Whether nothing will follow.
    pub is_last: bool,
}

impl Update {
    /// Headline and steps as plain text of at most `max_chars` characters.
    #[must_use]
    pub fn text(&self, max_chars: usize) -> String {
        let lines =
            std::iter::once(self.headline.clone()).chain(self.steps.iter().map(|step| format!("• {step}")));
        let text = lines.collect::<Vec<_>>().join("\n");
        match text.char_indices().nth(max_chars) {
            None => text,
            Some(_) => text.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect(),
        }
    }
}

/// Why nobody was told. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The service does not do it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret should be a URL and is not.
    #[error("what is in {path} is not an https URL. Copy the webhook's URL into it again")]
    NotAUrl {
        /// Where the secret is.
        path: String,
    },
}

/// A place where people read.
pub trait Notifier {
    /// Its name, for the log.
    fn name(&self) -> &'static str;

    /// Tells it.
    fn tell(&mut self, update: &Update) -> Result<(), NotifyError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_update_is_cut_at_a_character_and_says_so() {
        let update = Update {
            incident: IncidentId("1".to_owned()),
            headline: "über".to_owned(),
            steps: vec!["x".to_owned(), "y".repeat(100)],
            is_last: false,
        };
        assert_eq!(update.text(1000), format!("über\n• x\n• {}", "y".repeat(100)));
        assert_eq!(update.text(9), "über\n• x…");
        assert_eq!(update.text(9).chars().count(), 9);
    }
}
