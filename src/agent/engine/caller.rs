//! The thread that wakes people. It is its own, so that nothing else delays a page.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::message::Finished;
use crate::agent::pager::{Delivery, Event, PageState, PagerDuty, PagerError};
use crate::agent::runbook::{Ended, TaskId};

/// Between two attempts to send what waits on disk.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// The thread looks at its clock so often.
const TICK: Duration = Duration::from_millis(500);

/// What the caller is told.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Sends an event.
    Send(TaskId, Box<Event>),
}

/// What the caller tells.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// How an event ended.
    Sent(Finished),
    /// What has become of the page with this key.
    State(String, PageState),
    /// Something that a person should see in the log and on the status page.
    Trouble(String),
    /// How many events wait on disk and have reached nobody, and why.
    Waiting(usize, String),
}

/// Wakes people by PagerDuty, or by nothing.
#[derive(Debug)]
pub struct Caller {
    /// `None` where nobody is paged.
    pub pager: Option<PagerDuty>,
}

impl Caller {
    /// Does what it is told until nobody tells it any more.
    pub(super) fn run<M: From<Heard>>(mut self, calls: &Receiver<Call>, heard: &Sender<M>) {
        let mut next_flush = Instant::now();
        let mut waiting = 0;
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
                let (trouble, why) = self.flush();
                if let Some(trouble) = trouble {
                    let _ = heard.send(Heard::Trouble(trouble).into());
                }
                self.tell_waiting(&mut waiting, why, heard);
            }
        }
    }

    /// Tells how many events wait, once for each change.
    fn tell_waiting<M: From<Heard>>(&self, told: &mut usize, why: String, heard: &Sender<M>) {
        let waiting = self.pager.as_ref().map_or(0, |pager| pager.spool.len());
        if std::mem::replace(told, waiting) != waiting {
            let _ = heard.send(Heard::Waiting(waiting, why).into());
        }
    }

    /// How it ended, and why it waits where it does.
    fn send(&mut self, event: &Event) -> (Ended, String) {
        let Some(pager) = &mut self.pager else {
            return (Ended::done("nobody is paged: there is no [agent.pagerduty]"), String::new());
        };
        match pager.send(event) {
            Ok(Delivery::Accepted) => (Ended::done("PagerDuty has it"), String::new()),
            // It is on disk and goes out as soon as PagerDuty can be reached: nothing is to be repeated.
            Ok(Delivery::Spooled(why)) => (Ended::done(format!("it waits on disk: {why}")), why),
            Err(error @ PagerError::Lost { .. }) => (Ended::not_done(error.to_string()), String::new()),
            Err(error) => (Ended::refused(error.to_string()), String::new()),
        }
    }

    /// What went wrong, and why events still wait.
    fn flush(&mut self) -> (Option<String>, String) {
        let Some(pager) = self.pager.as_mut().filter(|pager| !pager.spool.is_empty()) else {
            return (None, String::new());
        };
        match pager.flush() {
            Ok(flushed) => {
                let dropped = (!flushed.dropped.is_empty()).then(|| flushed.dropped.join("; "));
                (dropped, flushed.waiting.unwrap_or_default())
            }
            Err(error) => (Some(error.to_string()), error.to_string()),
        }
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
            spool: Spool::open(directory.path().join("spool")).unwrap(),
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
