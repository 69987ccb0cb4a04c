//! The thread that writes reports and makes commits. Both may take long, and no switch waits for them.

use crossbeam::channel::{Receiver, Sender};

use super::message::Finished;
use crate::agent::runbook::{Ended, TaskId};

/// Something to write.
pub(super) struct Writing {
    /// What it belongs to.
    pub(super) task: TaskId,
    /// What is done; the text is for a person.
    pub(super) write: Box<dyn FnOnce() -> Result<String, String> + Send>,
}

impl std::fmt::Debug for Writing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Writing").field(&self.task).finish()
    }
}

/// Does what it is given until the channel closes.
pub(super) fn run<M: From<Finished>>(errands: &Receiver<Writing>, written: &Sender<M>) {
    for Writing { task, write } in errands {
        let ended = write().map_or_else(Ended::not_done, Ended::done);
        if written.send(Finished { task, ended }.into()).is_err() {
            return;
        }
    }
}
