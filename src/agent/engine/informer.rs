//! The thread that tells: chat rooms, summaries, reports. It informs and decides nothing, so that a chat that
//! hangs delays no switch.

use crossbeam::channel::{Receiver, Sender};

use super::work::{Done, Failure, Found, Ticket};
use crate::agent::notify::{Facts, Notifier, Summariser, Update};

/// Something to tell.
pub enum Tell {
    /// Where an incident stands.
    Update {
        /// What it belongs to.
        ticket: Ticket,
        /// What is told.
        update: Update,
        /// What a summary is made of, when there is to be one.
        facts: Option<Facts>,
    },
    /// Something that takes time and that only people wait for, such as writing the report.
    Task {
        /// What it belongs to.
        ticket: Ticket,
        /// What is done; the text is for a person.
        task: Box<dyn FnOnce() -> Result<String, String> + Send>,
    },
}

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Update { ticket, .. } | Self::Task { ticket, .. }) = self;
        f.debug_tuple("Tell").field(ticket).finish()
    }
}

/// Whom it tells.
#[derive(Default)]
pub struct Informer {
    /// Chat rooms and webhooks.
    pub notifiers: Vec<Box<dyn Notifier + Send>>,
    /// Who writes a few sentences.
    pub summariser: Option<Summariser>,
}

impl std::fmt::Debug for Informer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer").field("notifiers", &self.notifiers.len()).finish_non_exhaustive()
    }
}

impl Informer {
    /// Tells what it is given until nobody gives it any more.
    pub(super) fn run<M: From<Done>>(mut self, tells: &Receiver<Tell>, done: &Sender<M>) {
        for tell in tells {
            let (ticket, result) = match tell {
                Tell::Update { ticket, update, facts } => (ticket, self.tell(update, facts.as_ref())),
                Tell::Task { ticket, task } => (ticket, task().map(Found::Done).map_err(Failure::new)),
            };
            if done.send(Done { ticket, result }.into()).is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, mut update: Update, facts: Option<&Facts>) -> Result<Found, Failure> {
        if self.notifiers.is_empty() {
            return Ok(Found::Done("nobody is to be told".to_owned()));
        }
        let mut remarks = Vec::new();
        if let Some((summariser, facts)) = self.summariser.as_ref().zip(facts) {
            let summary = summariser.summarise(facts);
            remarks.extend(summary.fallback);
            update.steps.push(summary.text);
        }
        let (mut told, mut failed) = (Vec::new(), Vec::new());
        for notifier in &mut self.notifiers {
            match notifier.tell(&update) {
                Ok(()) => told.push(notifier.name()),
                Err(error) => failed.push(format!("{}: {error}", notifier.name())),
            }
        }
        let text = [vec![format!("told {}", told.join(", "))], remarks].concat().join("; ");
        if failed.is_empty() { Ok(Found::Done(text)) } else { Err(Failure::new(failed.join("; "))) }
    }
}
