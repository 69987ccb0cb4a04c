//! The thread that pages people. It does nothing else, so that nothing delays a page.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::message::Finished;
use crate::agent::pager::{Delivery, Event, Flushed, PageState, PagerDuty, PagerError};
use crate::agent::runbook::{Ended, TaskId};

/// How often to try to send what waits on disk.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// How often the thread wakes when nothing is to be sent.
const TICK: Duration = Duration::from_millis(500);

/// What the caller is told.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Sends an event.
    Send(TaskId, Box<Event>),
}

/// What the caller reports.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// How an event ended.
    Sent(Finished),
    /// The state of the page with this key.
    State(String, PageState),
    /// A problem to show in the log and on the status page.
    Trouble(String),
    /// How many events wait on disk, unsent, and why.
    Waiting(usize, String),
}

/// Pages people by PagerDuty, where it is configured.
#[derive(Debug)]
pub struct Caller {
    /// `None` without a pager.
    pub pager: Option<PagerDuty>,
}

impl Caller {
    /// Sends what it is given until the channel closes.
    pub(super) fn run<M: From<Heard>>(mut self, calls: &Receiver<Call>, heard: &Sender<M>) {
        let mut next_flush = Instant::now();
        let mut waiting = 0;
        let mut said_unkept = None;
        loop {
            match calls.recv_timeout(TICK) {
                Ok(Call::Send(task, event)) => {
                    let (ended, why) = self.send(&event);
                    let _ = heard.send(Heard::Sent(Finished { task, ended }).into());
                    self.tell_waiting(&mut waiting, why, heard);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= next_flush {
                next_flush = now + FLUSH_EVERY;
                let flushed = self.flush();
                let is_new = said_unkept != flushed.unkept;
                said_unkept.clone_from(&flushed.unkept);
                let troubles = flushed.dropped.into_iter().chain(flushed.unkept.filter(|_| is_new));
                troubles.for_each(|trouble| drop(heard.send(Heard::Trouble(trouble).into())));
                self.tell_waiting(&mut waiting, flushed.waiting.unwrap_or_default(), heard);
            }
        }
    }

    /// Reports how many events wait, when that changes.
    fn tell_waiting<M: From<Heard>>(&self, told: &mut usize, why: String, heard: &Sender<M>) {
        let waiting = self.pager.as_ref().map_or(0, |pager| pager.spool.len());
        if std::mem::replace(told, waiting) != waiting {
            let _ = heard.send(Heard::Waiting(waiting, why).into());
        }
    }

    /// The outcome, and why the event waits on disk if it does.
    fn send(&mut self, event: &Event) -> (Ended, String) {
        let Some(pager) = &mut self.pager else {
            return (Ended::done("nobody is paged: there is no [agent.pagerduty]"), String::new());
        };
        match pager.send(event) {
            Ok(Delivery::Accepted) => (Ended::done("PagerDuty has it"), String::new()),
            // It goes out from the disk as soon as PagerDuty can be reached, so the runbook need not repeat it.
            Ok(Delivery::Spooled(why)) => (Ended::done(format!("it waits on disk: {why}")), why),
            Err(error @ PagerError::Lost { .. }) => (Ended::not_done(error.to_string()), String::new()),
            Err(error) => (Ended::refused(error.to_string()), String::new()),
        }
    }

    fn flush(&mut self) -> Flushed {
        let Some(pager) = &mut self.pager else { return Flushed::default() };
        pager.flush().unwrap_or_else(|error| Flushed {
            dropped: vec![error.to_string()],
            waiting: Some(error.to_string()),
            ..Flushed::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::https::{BaseUrl, Client, ClientOptions};
    use crate::agent::pager::{EventAction, Spool};
    use crate::agent::secret::SecretSource;

    #[test]
    fn who_pages_and_reaches_nobody_says_so_once() {
        let directory = tempfile::tempdir().unwrap();
        let pager = PagerDuty {
            client: Client::new(&ClientOptions::default()).unwrap(),
            events_base: BaseUrl::new("https://events.example").unwrap(),
            // No key, so nothing is sent.
            routing_key: SecretSource::File(directory.path().join("key")),
            rest: None,
            spool: Spool::open(directory.path().join("spool")),
        };
        let (tell, calls) = crossbeam::channel::unbounded();
        let (heard, hears) = crossbeam::channel::unbounded::<Heard>();
        for task in [1, 2] {
            let event = Event { dedup_key: task.to_string(), action: EventAction::Resolve, at_ms: 0 };
            tell.send(Call::Send(TaskId(task), Box::new(event))).unwrap();
        }
        drop(tell);
        Caller { pager: Some(pager) }.run(&calls, &heard);
        drop(heard);
        let waiting: Vec<(usize, bool)> = hears
            .iter()
            .filter_map(|heard| match heard {
                Heard::Waiting(events, why) => Some((events, why.contains("key"))),
                _ => None,
            })
            .collect();
        assert_eq!(waiting, [(1, true), (2, true)]);
    }
}
