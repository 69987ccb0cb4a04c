//! The thread that asks whether a page was answered. It is apart from the one that pages, so that a pager that hangs on
//! a question does not delay a page.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use super::caller::Heard;
use crate::agent::https::Client;
use crate::agent::pager::{PagerDuty, RestAccess};

/// How long to wait before asking again.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often an idle thread checks whether it should end.
const IDLE: Duration = Duration::from_secs(3600);

/// Asks PagerDuty's REST API.
#[derive(Debug)]
pub(super) struct Asker {
    client: Client,
    rest: RestAccess,
}

/// A page that is asked about again and again.
struct Following {
    key: String,
    next: Instant,
    /// The last trouble reported, so that it is reported once.
    told: Option<String>,
}

impl Asker {
    /// `None` where the pager is not asked.
    pub(super) fn of(pager: &PagerDuty) -> Option<Self> {
        let rest = pager.rest.clone()?;
        Some(Self { client: pager.client.clone(), rest })
    }

    /// Follows the page whose key came last, until the channel closes.
    pub(super) fn run<M: From<Heard>>(self, keys: &Receiver<Option<String>>, heard: &Sender<M>) {
        let mut following: Option<Following> = None;
        loop {
            let now = Instant::now();
            let wait = following.as_ref().map_or(IDLE, |one| one.next.saturating_duration_since(now));
            match keys.recv_timeout(wait) {
                Ok(key) => {
                    following = key.map(|key| Following { key, next: Instant::now(), told: None });
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(following) = &mut following {
                let news = self.ask(following);
                following.next = Instant::now() + ASK_EVERY;
                if news.is_some_and(|news| heard.send(news.into()).is_err()) {
                    return;
                }
            }
        }
    }

    fn ask(&self, following: &mut Following) -> Option<Heard> {
        match self.rest.state(&self.client, &following.key) {
            Ok(state) => {
                following.told = None;
                Some(Heard::State(following.key.clone(), state))
            }
            Err(error) => {
                let trouble = error.to_string();
                let is_new = following.told.as_ref() != Some(&trouble);
                following.told = Some(trouble.clone());
                is_new.then_some(Heard::Trouble(trouble))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::https::{BaseUrl, ClientOptions, RetryPolicy};
    use crate::agent::secret::SecretSource;

    #[test]
    fn the_page_that_was_named_last_is_asked_about_and_a_trouble_is_told() {
        let options = ClientOptions { retry: RetryPolicy::ONCE, ..ClientOptions::default() };
        let directory = tempfile::tempdir().unwrap();
        // No key, so nothing is sent.
        let key = SecretSource::File(directory.path().join("key"));
        let rest = RestAccess { base: BaseUrl::new("https://api.example").unwrap(), key };
        let asker = Asker { client: Client::new(&options).unwrap(), rest };
        let (follow, keys) = crossbeam::channel::unbounded();
        let (heard, hears) = crossbeam::channel::unbounded::<Heard>();
        let thread = std::thread::spawn(move || asker.run(&keys, &heard));
        follow.send(Some("a".to_owned())).unwrap();
        let Heard::Trouble(why) = hears.recv().unwrap() else { panic!("there is no key") };
        assert!(why.contains("key"), "{why}");
        follow.send(None).unwrap();
        drop(follow);
        thread.join().unwrap();
        assert!(hears.try_recv().is_err(), "the same trouble is not told twice");
    }
}
