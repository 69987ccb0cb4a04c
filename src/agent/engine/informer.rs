//! The thread that tells: chat rooms, summaries, reports. It informs and decides nothing, so that a chat that
//! hangs delays no switch.

use crossbeam::channel::{Receiver, Sender};

use super::message::Finished;
use crate::agent::notify::{Facts, Notifier, Summariser, Update};
use crate::agent::runbook::{Ended, TaskId};

/// Something to tell.
pub(super) enum Tell {
    /// Where an incident stands.
    Update {
        /// What it belongs to.
        task: TaskId,
        /// What is told.
        update: Update,
        /// What a summary is made of, when there is to be one.
        facts: Option<Facts>,
    },
    /// Something that takes time and that only people wait for, such as writing the report.
    Errand {
        /// What it belongs to.
        task: TaskId,
        /// What is done; the text is for a person.
        errand: Box<dyn FnOnce() -> Result<String, String> + Send>,
    },
}

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Update { task, .. } | Self::Errand { task, .. }) = self;
        f.debug_tuple("Tell").field(task).finish()
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
    pub(super) fn run<M: From<Finished>>(mut self, tells: &Receiver<Tell>, finished: &Sender<M>) {
        for tell in tells {
            let (task, ended) = match tell {
                Tell::Update { task, update, facts } => (task, self.tell(update, facts.as_ref())),
                Tell::Errand { task, errand } => (task, errand().map_or_else(Ended::not_done, Ended::done)),
            };
            if finished.send(Finished { task, ended }.into()).is_err() {
                return;
            }
        }
    }

    fn tell(&mut self, mut update: Update, facts: Option<&Facts>) -> Ended {
        if self.notifiers.is_empty() {
            return Ended::done("nobody is to be told");
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
        // Those who were told are not told again for the sake of those who were not, nor because all of it took
        // longer than anybody waited: the runbook repeats no message of which it heard nothing.
        let text = [vec![format!("told {}", told.join(", "))], remarks, failed].concat().join("; ");
        if told.is_empty() { Ended::not_done(text) } else { Ended::done(text) }
    }
}
