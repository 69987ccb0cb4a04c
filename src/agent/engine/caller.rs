//! The thread that wakes people. It is its own, so that nothing else delays a page.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::hands::{done, not_done, refused};
use super::message::Finished;
use crate::agent::pager::{Delivery, Event, PageState, PagerDuty, PagerError};
use crate::agent::runbook::{Ended, TaskId};

/// Between two questions whether a page was answered.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Between two attempts to send what waits on disk.
const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// The thread looks at its clock so often.
const TICK: Duration = Duration::from_millis(500);

/// What the caller is told.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Sends an event.
    Send(TaskId, Box<Event>),
    /// Asks again and again what has become of this page.
    Follow(String),
    /// Asks no more.
    Unfollow,
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
}

/// Wakes people by PagerDuty, or by nothing.
#[derive(Debug)]
pub struct Caller {
    /// `None` where nobody is paged.
    pub pager: Option<PagerDuty>,
}

struct Following {
    key: String,
    next: Instant,
    /// What was said last, so that a thing is told once.
    said: Option<String>,
}

impl Caller {
    /// Does what it is told until nobody tells it any more.
    pub(super) fn run<M: From<Heard>>(mut self, calls: &Receiver<Call>, heard: &Sender<M>) {
        let mut following: Option<Following> = None;
        let mut next_flush = Instant::now();
        loop {
            match calls.recv_timeout(TICK) {
                Ok(Call::Send(task, event)) => {
                    let ended = self.send(&event);
                    let _ = heard.send(Heard::Sent(Finished { task, ended }).into());
                }
                Ok(Call::Follow(key)) => {
                    following = Some(Following { key, next: Instant::now(), said: None });
                }
                Ok(Call::Unfollow) => following = None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if let Some(following) = following.as_mut().filter(|following| now >= following.next) {
                following.next = now + ASK_EVERY;
                if let Some(news) = self.ask(following) {
                    let _ = heard.send(news.into());
                }
            }
            if now >= next_flush {
                next_flush = now + FLUSH_EVERY;
                if let Some(trouble) = self.flush() {
                    let _ = heard.send(Heard::Trouble(trouble).into());
                }
            }
        }
    }

    fn send(&mut self, event: &Event) -> Ended {
        let Some(pager) = &mut self.pager else {
            return done("nobody is paged: there is no [agent.pagerduty]");
        };
        match pager.send(event) {
            Ok(Delivery::Accepted) => done("PagerDuty has it"),
            // It is on disk and goes out as soon as PagerDuty can be reached: nothing is to be repeated.
            Ok(Delivery::Spooled(why)) => done(format!("it waits on disk: {why}")),
            Err(error @ PagerError::Lost { .. }) => not_done(error.to_string()),
            Err(error) => refused(error.to_string()),
        }
    }

    fn ask(&self, following: &mut Following) -> Option<Heard> {
        let pager = self.pager.as_ref().filter(|pager| pager.rest.is_some())?;
        match pager.state(&following.key) {
            Ok(state) => {
                following.said = None;
                Some(Heard::State(following.key.clone(), state))
            }
            Err(error) => {
                let trouble = error.to_string();
                let is_new = following.said.as_ref() != Some(&trouble);
                following.said = Some(trouble.clone());
                is_new.then_some(Heard::Trouble(trouble))
            }
        }
    }

    fn flush(&mut self) -> Option<String> {
        let pager = self.pager.as_mut().filter(|pager| !pager.spool.is_empty())?;
        match pager.flush() {
            Ok(flushed) if flushed.dropped.is_empty() => None,
            Ok(flushed) => Some(flushed.dropped.join("; ")),
            Err(error) => Some(error.to_string()),
        }
    }
}
