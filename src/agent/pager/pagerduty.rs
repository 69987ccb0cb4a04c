//! Sends events, keeps what does not get through, and asks who has answered.

use serde::Deserialize;

use super::acknowledgement::{Incident, IncidentList, LogEntries, OneIncident, PageState};
use super::events::{Event, MAX_DEDUP_KEY_CHARS};
use super::spool::{Spool, SpoolError};
use crate::agent::https::{BaseUrl, CallError, Client, Failure, Method, Repeat, Request, Response, Service};
use crate::agent::secret::{SecretError, SecretSource};
use crate::percent::percent_encode;

static EVENTS: Service = Service {
    name: "PagerDuty (events)",
    credential: "check the routing key: it is the integration key of an Events API v2 integration",
    status_page: Some("https://status.pagerduty.com"),
    throttle_marks: &[],
};
static REST: Service = Service {
    name: "PagerDuty (REST)",
    credential: "check the REST API key (read-only is enough) and whether the account is in the EU; \
        meanwhile acknowledge by `openclaw-rating failover ack`",
    status_page: Some("https://status.pagerduty.com"),
    throttle_marks: &[],
};

/// Events sent by one flush: the agent has other things to do than to catch up with a night.
const MAX_FLUSHED: usize = 16;

/// Where an account lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// `pagerduty.com`.
    Us,
    /// `eu.pagerduty.com`.
    Eu,
}

impl Site {
    /// Takes events.
    #[must_use]
    pub const fn events_base(self) -> &'static str {
        match self {
            Self::Us => "https://events.pagerduty.com",
            Self::Eu => "https://events.eu.pagerduty.com",
        }
    }

    /// Answers questions.
    #[must_use]
    pub const fn rest_base(self) -> &'static str {
        match self {
            Self::Us => "https://api.pagerduty.com",
            Self::Eu => "https://api.eu.pagerduty.com",
        }
    }
}

/// How PagerDuty is asked.
#[derive(Clone, Debug)]
pub struct RestAccess {
    /// [`Site::rest_base`], or a stand-in.
    pub base: BaseUrl,
    /// A REST API key.
    pub key: SecretSource,
}

/// One integration of a PagerDuty service.
#[derive(Debug)]
pub struct PagerDuty {
    /// Sends the calls.
    pub client: Client,
    /// [`Site::events_base`], or a stand-in.
    pub events_base: BaseUrl,
    /// The integration's key.
    pub routing_key: SecretSource,
    /// How acknowledgements are asked for, when they are.
    pub rest: Option<RestAccess>,
    /// Keeps what does not get through.
    pub spool: Spool,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// PagerDuty has it.
    Accepted,
    /// It waits on disk; the text says why.
    Spooled(String),
}

/// What a flush did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Events that PagerDuty took.
    pub sent: usize,
    /// Why events were dropped: PagerDuty will never take them, or they are none.
    pub dropped: Vec<String>,
    /// Why the rest still waits.
    pub waiting: Option<String>,
    /// Why the spool cannot be used, so that an event which does not get through is lost.
    pub unkept: Option<String>,
}

/// Why a page is not out. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PagerError {
    /// PagerDuty refuses it, so that waiting is useless.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The key cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// PagerDuty does not take it, and neither does the disk.
    #[error("the page is lost: {call} And: {spool}")]
    Lost {
        /// Why it was not sent.
        call: String,
        /// Why it was not kept.
        spool: SpoolError,
    },
    /// The key is longer than PagerDuty takes.
    #[error("the key of the incident is longer than {MAX_DEDUP_KEY_CHARS} characters. Give it a shorter id")]
    KeyTooLong,
}

#[derive(Deserialize)]
struct Accepted {
    status: String,
    dedup_key: String,
}

impl PagerDuty {
    /// Sends `event`, behind those that wait. What PagerDuty does not take now, but may take later, is
    /// on disk when this returns.
    pub fn send(&mut self, event: &Event) -> Result<Delivery, PagerError> {
        if event.dedup_key.chars().count() > MAX_DEDUP_KEY_CHARS {
            return Err(PagerError::KeyTooLong);
        }
        if let Some(why) = self.flush()?.waiting {
            return self.keep(event, why);
        }
        match self.post(event) {
            Ok(()) => Ok(Delivery::Accepted),
            Err(PagerError::Call(error)) if is_refused_for_good(&error) => Err(error.into()),
            Err(error) => self.keep(event, error.to_string()),
        }
    }

    /// Sends what waits, oldest first, until one does not get through or 16 are sent.
    pub fn flush(&mut self) -> Result<Flushed, PagerError> {
        // No reason not to send what can be sent.
        let unkept = self.spool.look().err().map(|error| error.to_string());
        let mut flushed = Flushed { unkept, ..Flushed::default() };
        loop {
            let event = match self.spool.first(&mut flushed.dropped) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    flushed.waiting = Some(error.to_string());
                    break;
                }
            };
            if flushed.sent + flushed.dropped.len() >= MAX_FLUSHED {
                flushed.waiting = Some(format!("{} earlier events go first", self.spool.len()));
                break;
            }
            match self.post(&event) {
                Ok(()) => flushed.sent += 1,
                Err(PagerError::Call(error)) if is_refused_for_good(&error) => {
                    flushed.dropped.push(error.to_string());
                }
                Err(error) => {
                    flushed.waiting = Some(error.to_string());
                    break;
                }
            }
            // What cannot be removed is sent again next time, which the key makes harmless.
            if let Err(error) = self.spool.pop() {
                flushed.waiting = Some(error.to_string());
                break;
            }
        }
        Ok(flushed)
    }

    fn post(&self, event: &Event) -> Result<(), PagerError> {
        let key = self.routing_key.read()?;
        let url = self.events_base.join("/v2/enqueue");
        let request =
            Request::new(Method::Post, url, Repeat::Harmless).json(&event.body(key.expose())).hide(&key);
        let response = self.client.call(&EVENTS, &request)?;
        let accepted: Accepted = response.json()?;
        if accepted.status != "success" || accepted.dedup_key != event.dedup_key {
            return Err(response.not_understood("it does not confirm the event").into());
        }
        Ok(())
    }

    fn keep(&mut self, event: &Event, why: String) -> Result<Delivery, PagerError> {
        match self.spool.push(event) {
            Ok(()) => Ok(Delivery::Spooled(why)),
            Err(spool) => Err(PagerError::Lost { call: why, spool }),
        }
    }
}

impl RestAccess {
    /// Asks by `client` what has become of the page with `dedup_key`.
    pub fn state(&self, client: &Client, dedup_key: &str) -> Result<PageState, PagerError> {
        let path = format!(
            "/incidents?incident_key={}&date_range=all&sort_by=created_at%3Adesc&limit=1",
            percent_encode(dedup_key)
        );
        let answer = self.get(client, &path)?;
        let list: IncidentList = answer.json()?;
        let Some(incident) = list.into_newest() else { return Ok(PageState::Unknown) };
        let state = self.state_of(client, &incident, &answer)?;
        // Whoever merged it answers the incident that goes on in its place.
        let Some(other) = incident.merged_into().filter(|_| state == PageState::Resolved) else {
            return Ok(state);
        };
        let answer = self.get(client, &format!("/incidents/{}", percent_encode(other)))?;
        let OneIncident { incident } = answer.json()?;
        self.state_of(client, &incident, &answer)
    }

    /// The state of `incident`, of which `answer` tells.
    fn state_of(
        &self,
        client: &Client,
        incident: &Incident,
        answer: &Response,
    ) -> Result<PageState, PagerError> {
        if let Some(state) = incident.state() {
            return Ok(state.told_at(answer.date()));
        }
        let path = format!("/incidents/{}/log_entries?limit=100", percent_encode(&incident.id));
        let answer = self.get(client, &path)?;
        let log: LogEntries = answer.json()?;
        Ok(log.state(incident.is_resolved()).told_at(answer.date()))
    }

    fn get(&self, client: &Client, path: &str) -> Result<Response, PagerError> {
        let request = Request::get(self.base.join(path))
            .header("Accept", "application/vnd.pagerduty+json;version=2")
            .secret_header("Authorization", "Token token=", &self.key.read()?);
        Ok(client.call(&REST, &request)?)
    }
}

/// Only what is wrong with the event itself: a bad key or a wrong URL is mended while the event waits.
fn is_refused_for_good(error: &CallError) -> bool {
    let Failure::Status { code: 400 | 413 | 422, excerpt, .. } = error.failure() else { return false };
    // A key that is none of an integration is answered by 400, as an event that is none.
    let words = excerpt.to_lowercase().replace('_', " ");
    !words.contains("routing key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_waits_for_a_key_that_is_mended_and_not_for_what_never_passes() {
        for (code, says, is_for_good) in [
            (400, "Event object is invalid: 'payload.severity' is missing", true),
            (400, "{\"errors\":[\"Length of 'routing_key' is incorrect (should be 32 characters)\"]}", false),
            (400, "{\"errors\":[\"Invalid routing key\"]}", false),
            (413, "", true),
            (403, "", false),
            (500, "", false),
        ] {
            let failure = Failure::Status { code, retry_after: None, excerpt: says.to_owned() };
            assert_eq!(is_refused_for_good(&CallError::new(&EVENTS, "POST", failure)), is_for_good, "{says}");
        }
    }
}
