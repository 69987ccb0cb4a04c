//! What keeps a task that waited for too long, or was stopped meanwhile, from beginning.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::agent::runbook::{Task, TaskId};

/// A task for the hands, and when it is too late to begin it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    begin_by: Instant,
}

/// Changes up to this task do not begin any more. Tasks are numbered in the order in which they are handed out.
#[derive(Debug, Default)]
pub(super) struct Brake(AtomicU64);

impl Job {
    /// Handed out now. Its time limit is that of the runbook, which gives it up a little later.
    pub(super) fn of(task: Task) -> Self {
        let begin_by = Instant::now() + Duration::from_millis(task.timeout_ms);
        Self { task, begin_by }
    }

    /// Whether it may begin now; the reason when it may not.
    pub(super) fn may_begin(&self, brake: &Brake) -> Result<(), String> {
        if Instant::now() >= self.begin_by {
            return Err("it was not begun, since its time was over before its turn came".to_owned());
        }
        // A look changes nothing, and what comes next waits for it.
        let is_stoppable = self.task.is_drill || self.task.work.change().is_some();
        if is_stoppable && brake.stops(self.task.id) {
            return Err("it was not begun, since it was stopped before its turn came".to_owned());
        }
        Ok(())
    }
}

impl Brake {
    pub(super) fn stop_up_to(&self, task: TaskId) {
        self.0.fetch_max(task.0, Ordering::SeqCst);
    }

    fn stops(&self, task: TaskId) -> bool {
        task.0 <= self.0.load(Ordering::SeqCst)
    }
}
