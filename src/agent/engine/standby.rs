//! The thread that scales the standby. That may take minutes, and no step of a switch waits for it.

use crossbeam::channel::{Receiver, Sender};

use super::brake::{Brake, Job};
use super::message::Finished;
use crate::agent::runbook::{Ended, Failure};
use crate::agent::scale::{ScaleError, Scaled, Scaler};

/// Who scales the standby, and to how many.
pub struct Standby {
    /// Who is asked.
    pub scaler: Box<dyn Scaler + Send>,
    /// How many there are to be.
    pub replicas: u32,
}

impl std::fmt::Debug for Standby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standby").field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

impl Standby {
    /// Scales for each job until the channel closes.
    pub(super) fn run<M: From<Finished>>(
        mut self,
        brake: &Brake,
        jobs: &Receiver<Job>,
        finished: &Sender<M>,
    ) {
        for job in jobs {
            let ended = job.may_begin(brake).map_or_else(Ended::not_done, |()| self.raise());
            if finished.send(Finished { task: job.task.id, ended }.into()).is_err() {
                return;
            }
        }
    }

    fn raise(&mut self) -> Ended {
        match self.scaler.raise(self.replicas) {
            Ok(Scaled::Raised { from, to }) => Ended::done(format!("raised from {from} to {to}")),
            Ok(Scaled::Enough { replicas }) => Ended::done(format!("there are {replicas} already")),
            Err(error) => of_scaling(&error),
        }
    }
}

fn of_scaling(error: &ScaleError) -> Ended {
    let failure = if error.may_have_happened() { Failure::Unknown } else { Failure::NotDone };
    Ended::Failed { failure, why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::bounded;

    use super::*;
    use crate::agent::runbook::{Task, TaskId, Work};

    struct Paper;

    impl Scaler for Paper {
        fn raise(&mut self, wanted: u32) -> Result<Scaled, ScaleError> {
            Ok(Scaled::Raised { from: 1, to: wanted })
        }

        fn plan(&self, _wanted: u32) -> Vec<String> {
            Vec::new()
        }
    }

    fn ended(brake: &Brake) -> Ended {
        let (tell, jobs) = bounded(1);
        let (finished, ends) = bounded::<Finished>(1);
        let task = Task {
            id: TaskId(7),
            incident: None,
            attempt: 1,
            timeout_ms: 60_000,
            is_drill: false,
            work: Work::Scale,
        };
        tell.send(Job::of(task)).unwrap();
        drop(tell);
        Standby { scaler: Box::new(Paper), replicas: 4 }.run(brake, &jobs, &finished);
        ends.recv().unwrap().ended
    }

    #[test]
    fn more_is_asked_for_unless_it_was_stopped_before() {
        assert!(matches!(ended(&Brake::default()), Ended::Done { detail } if detail.contains("from 1 to 4")));
        let brake = Brake::default();
        brake.stop_up_to(TaskId(7));
        let Ended::Failed { failure: Failure::NotDone, why } = ended(&brake) else {
            panic!("it was stopped")
        };
        assert!(why.contains("stopped before its turn"), "{why}");
    }
}
