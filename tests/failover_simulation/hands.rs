//! What agents do to the world: tasks begin, take their time, and end.

use openclaw_rating::agent::runbook::{Ended, Event, Failure, Task, Work};
use openclaw_rating::agent::types::Entry;

use crate::agent::Doing;
use crate::faults::Fault;
use crate::person::index_of;
use crate::provider::{Pending, done, failed};
use crate::world::{Kept, World};

impl World {
    pub(crate) fn begin_tasks(&mut self, node: usize) -> Kept {
        for which in 0..2 {
            let hands = &mut self.agents[node].hands[which];
            if hands.doing.is_some() {
                continue;
            }
            let Some(task) = hands.waiting.pop_front() else { continue };
            let is_free = matches!(task.work, Work::Page(_) | Work::ResolvePage { .. });
            let is_quiet = task.incident.is_none() && task.work == Work::ReadRecord;
            let is_full = self.scenario.faults.is(Fault::DiskFull(node), self.now_ms);
            if is_full && !is_free && !is_quiet {
                let ended = failed(Failure::NotDone, "it could not be journalled");
                self.agents[node].hands[which].doing = Some(Doing { task, end_ms: self.now_ms, ended });
                self.agents[node].journal_fails = true;
                self.feed(node, Event::JournalFailed { why: "no space left".to_owned() })?;
                continue;
            }
            if !is_quiet && !self.append_intent(node, &task)? {
                return Ok(());
            }
            if let (Work::WriteRecord { .. }, Some(id)) = (&task.work, &task.incident) {
                self.promises.written_down(node, id);
            }
            let doing = self.begin(node, task);
            self.agents[node].hands[which].doing = Some(doing);
        }
        Ok(())
    }

    fn append_intent(&mut self, node: usize, task: &Task) -> Result<bool, String> {
        self.append(node, task.incident.clone(), task.intent(vec![]))
    }

    /// What the world makes of a task.
    fn begin(&mut self, node: usize, task: Task) -> Doing {
        let (faults, now_ms) = (self.scenario.faults.clone(), self.now_ms);
        let region = self.agents[node].region;
        let is_online = faults.is_online(region, now_ms);
        let is_pager_up = is_online && !faults.is(Fault::PagerDown, now_ms);
        let soon_ms = now_ms + self.random.between(50, 400);
        let (end_ms, ended) = match &task.work {
            Work::Page(_) | Work::ResolvePage { .. } if !is_pager_up => {
                (soon_ms, failed(Failure::NotDone, "the pager gives no answer"))
            }
            Work::Page(page) => {
                self.paged(&page.dedup_key);
                (soon_ms, done("paged"))
            }
            Work::ResolvePage { dedup_key, .. } => {
                self.pages.remove(dedup_key);
                (soon_ms, done("resolved"))
            }
            Work::ReadRecord
            | Work::WriteRecord { .. }
            | Work::RestoreRecord { .. }
            | Work::AwaitVisible { .. } => self.ask_provider(node, &task),
            Work::Preflight { target } => {
                let target = index_of(target);
                let bad = faults.is(Fault::FailsPreflight(target), now_ms);
                (soon_ms, self.look_at(region, target, bad))
            }
            Work::Validate { target, .. } => {
                let target = index_of(target);
                let bad = faults.is(Fault::FailsUnderLoad(target), now_ms);
                (soon_ms + 500, self.look_at(region, target, bad))
            }
            Work::Notify { .. } | Work::Scale | Work::CommitRegion { .. } | Work::WriteReport => {
                (soon_ms, done("done"))
            }
        };
        Doing { task, end_ms, ended }
    }

    fn ask_provider(&mut self, node: usize, task: &Task) -> (u64, Ended) {
        let (faults, now_ms) = (self.scenario.faults.clone(), self.now_ms);
        let is_online = faults.is_online(self.agents[node].region, now_ms);
        match &task.work {
            Work::ReadRecord => {
                let call = self.provider.read(task.is_drill, is_online, &faults, &mut self.random, now_ms);
                if let (Ended::Found(found), false) = (&call.ended, task.is_drill) {
                    self.promises.read(node, now_ms, &found.values);
                }
                (call.end_ms, call.ended)
            }
            Work::WriteRecord { expected, wanted } | Work::RestoreRecord { expected, wanted } => {
                let pending = Pending {
                    at_ms: now_ms,
                    wanted: wanted.clone(),
                    is_drill: task.is_drill,
                    by: node,
                    incident: task.incident.as_ref().map(|id| id.0.clone()).unwrap_or_default(),
                };
                let call =
                    self.provider.write((expected, wanted), pending, is_online, &faults, &mut self.random);
                (call.end_ms, call.ended)
            }
            Work::AwaitVisible { wanted } => (
                now_ms + self.random.between(50, 400),
                self.provider.visible(wanted, task.is_drill, &faults, now_ms),
            ),
            _ => (now_ms, done("nothing to ask")),
        }
    }

    fn look_at(&self, from: usize, target: usize, bad: bool) -> Ended {
        let reaches = self.scenario.faults.reach(from, target, self.now_ms);
        if reaches && self.is_healthy(target) && !bad {
            return done("all is well");
        }
        failed(Failure::Refused, "it is not well")
    }

    pub(crate) fn finish_tasks(&mut self, node: usize) -> Kept {
        for which in 0..2 {
            let due = |doing: &mut Doing| doing.end_ms <= self.now_ms;
            let Some(Doing { task, ended, .. }) = self.agents[node].hands[which].doing.take_if(due) else {
                continue;
            };
            let is_quiet = task.incident.is_none() && task.work == Work::ReadRecord;
            let is_done = matches!(ended, Ended::Done { .. } | Ended::Found(_));
            let (step, attempt) = (task.work.step(), task.attempt);
            let entry = Entry::Outcome { step, attempt, done: is_done, detail: String::new() };
            if !is_quiet && !self.append(node, task.incident.clone(), entry)? {
                return Ok(());
            }
            if let (Work::Preflight { target }, Some(id), true) = (&task.work, &task.incident, is_done) {
                self.promises.passed(node, id, index_of(target), self.now_ms);
            }
            self.feed(node, Event::Done { task: task.id, ended })?;
            self.begin_tasks(node)?;
        }
        Ok(())
    }
}
