//! The thread that posts to chat rooms. Nothing waits for it, so a room that hangs delays no switch and no report.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, at, select};

use super::message::{Finished, UnusableSecrets};
use crate::agent::notify::{Facts, Notifier, Summariser, Update};
use crate::agent::runbook::{Ended, TaskId};
use crate::agent::secret::SecretSource;

/// How often secrets are tried: whoever mends one wants to see that soon.
const LOOK_AT_SECRETS_EVERY: Duration = Duration::from_secs(10);

/// Where an incident stands.
#[derive(Debug)]
pub(super) struct Tell {
    /// What it belongs to.
    pub(super) task: TaskId,
    /// What is told.
    pub(super) update: Update,
    /// What a summary is made of, when there is to be one.
    pub(super) facts: Option<Facts>,
}

/// Whom it tells.
#[derive(Default)]
pub struct Informer {
    /// Chat rooms and webhooks.
    pub notifiers: Vec<Box<dyn Notifier + Send>>,
    /// Who writes a few sentences.
    pub summariser: Option<Summariser>,
    /// All secrets of the agent. They are read only when needed, perhaps at night, so people must learn earlier
    /// of one that cannot be read.
    pub secrets: Vec<SecretSource>,
}

impl std::fmt::Debug for Informer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer").field("notifiers", &self.notifiers.len()).finish_non_exhaustive()
    }
}

impl Informer {
    /// Posts what it is given until the channel closes.
    pub(super) fn run<M: From<Finished> + From<UnusableSecrets>>(
        mut self,
        tells: &Receiver<Tell>,
        told: &Sender<M>,
    ) {
        let (mut known, mut next_look) = (UnusableSecrets::default(), Instant::now());
        loop {
            let is_heard = select! {
                recv(tells) -> tell => {
                    let Ok(Tell { task, update, facts }) = tell else { return };
                    let ended = self.tell(update, facts.as_ref());
                    told.send(Finished { task, ended }.into())
                }
                recv(at(next_look)) -> _ => {
                    next_look = Instant::now() + LOOK_AT_SECRETS_EVERY;
                    let unusable = self.unusable_secrets();
                    if unusable == known {
                        continue;
                    }
                    known.clone_from(&unusable);
                    told.send(unusable.into())
                }
            };
            if is_heard.is_err() {
                return;
            }
        }
    }

    fn unusable_secrets(&self) -> UnusableSecrets {
        UnusableSecrets(self.secrets.iter().filter_map(SecretSource::problem).collect())
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
        // Done when one room has it: a repetition for the others would reach that room twice. For the same reason the
        // runbook repeats no message whose outcome is unknown.
        let text = [remarks, failed].concat().join("; ");
        match (told.join(", "), text.is_empty()) {
            (names, _) if names.is_empty() => Ended::not_done(text),
            (names, true) => Ended::done(format!("told {names}")),
            (names, false) => Ended::done(format!("told {names}; {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::engine::message::Message;

    #[test]
    fn a_secret_that_cannot_be_read_is_told_before_it_is_needed() {
        let directory = tempfile::tempdir().unwrap();
        let good = directory.path().join("good");
        std::fs::write(&good, "token\n").unwrap();
        let secrets = [good, directory.path().join("missing")].map(SecretSource::File).to_vec();
        let informer = Informer { secrets, ..Informer::default() };
        let (tell, tells) = crossbeam::channel::bounded(1);
        let (told, hears) = crossbeam::channel::bounded::<Message>(1);
        let thread = std::thread::spawn(move || informer.run(&tells, &told));
        let Message::Secrets(UnusableSecrets(problems)) = hears.recv().unwrap() else { panic!("no secrets") };
        drop::<Sender<Tell>>(tell);
        thread.join().unwrap();
        assert!(matches!(&problems[..], [problem] if problem.contains("missing")), "{problems:?}");
    }
}
