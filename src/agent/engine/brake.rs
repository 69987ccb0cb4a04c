//! Keeps a task from starting when it waited too long or was stopped meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::agent::runbook::{Task, TaskId};

/// A task for another thread, and the time after which it must not start.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    begin_by: Instant,
}

/// Changes up to this task no longer start. Tasks are numbered in the order in which they are handed out.
#[derive(Debug, Default)]
pub(super) struct Brake(AtomicU64);

impl Job {
    /// Handed out now, with the runbook's time limit; the runbook gives up a little later.
    pub(super) fn of(task: Task) -> Self {
        let begin_by = Instant::now() + Duration::from_millis(task.timeout_ms);
        Self { task, begin_by }
    }

    /// `Err` says why it may not start now.
    pub(super) fn may_begin(&self, brake: &Brake) -> Result<(), String> {
        if Instant::now() >= self.begin_by {
            return Err("it was not begun, since its time was over before its turn came".to_owned());
        }
        // A look changes nothing, and the next step waits for it.
        if (self.task.is_drill || self.task.work.changes_the_world()) && brake.stops(self.task.id) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runbook::Work;
    use crate::agent::types::Region;

    #[test]
    fn what_changes_the_world_is_stopped_and_what_looks_is_not() {
        let us = || Region("us".to_owned());
        let brake = Brake::default();
        brake.stop_up_to(TaskId(1));
        for (work, is_stopped) in [
            (Work::Scale, true),
            (Work::CommitRegion { region: us() }, true),
            (Work::Preflight { target: us() }, false),
            (Work::ReadRecord, false),
        ] {
            let job = |id| {
                let (incident, work) = (None, work.clone());
                Job::of(Task {
                    id: TaskId(id),
                    incident,
                    attempt: 1,
                    timeout_ms: 60_000,
                    is_drill: false,
                    work,
                })
            };
            assert_eq!(job(1).may_begin(&brake).is_err(), is_stopped, "{work:?}");
            assert!(job(2).may_begin(&brake).is_ok(), "what is ordered later is done: {work:?}");
        }
    }
}
