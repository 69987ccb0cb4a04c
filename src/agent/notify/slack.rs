//! Slack: an incoming webhook, or a bot whose message is edited and answered in its thread.

use serde::Deserialize;
use serde_json::{Value, json};

use super::threads::Threads;
use super::{Notifier, NotifyError, Update};
use crate::agent::https::{BaseUrl, CallError, Client, Method, Repeat, Request, Response, Service};
use crate::agent::secret::{Secret, SecretSource};

static SLACK: Service = Service {
    name: "Slack",
    credential: "make a new webhook URL, or check the bot's token: it needs the scope chat:write and must be \
        in the channel (/invite it)",
    status_page: Some("https://slack-status.com"),
    throttle_marks: &[],
};
/// Slack cuts longer texts.
const MAX_CHARS: usize = 3000;
/// A shorter part of a webhook's URL is a word that others use too.
const MIN_SECRET_CHARS: usize = 9;
/// What `error` says when a credential is at fault, and so a person has to renew it.
const CREDENTIAL_ERRORS: &[&str] = &[
    "invalid_auth",
    "not_authed",
    "token_expired",
    "token_revoked",
    "account_inactive",
    "missing_scope",
    "not_in_channel",
];

/// How Slack is told.
#[derive(Debug)]
pub enum SlackRoute {
    /// An incoming webhook. Its URL is its credential. Every update is a message of its own.
    Webhook(SecretSource),
    /// A bot.
    Bot(SlackBot),
}

/// A bot in a channel.
#[derive(Debug)]
pub struct SlackBot {
    /// `https://slack.com/api`.
    pub base: BaseUrl,
    /// Its token, `xoxb-…`.
    pub token: SecretSource,
    /// The channel's id.
    pub channel: String,
}

/// A channel.
#[derive(Debug)]
pub struct Slack {
    client: Client,
    route: SlackRoute,
    /// Channel and time stamp of each incident's message.
    threads: Threads<Posted>,
}

#[derive(Clone, Debug)]
struct Posted {
    channel: String,
    ts: String,
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    ts: String,
}

impl Slack {
    /// Tells by `route`.
    #[must_use]
    pub fn new(client: Client, route: SlackRoute) -> Self {
        Self { client, route, threads: Threads::default() }
    }

    fn tell_webhook(&self, url: &SecretSource, update: &Update) -> Result<(), NotifyError> {
        let secret = url.read()?;
        BaseUrl::new(secret.expose()).map_err(|_| NotifyError::NotAUrl { path: url.to_string() })?;
        let request = Request::new(Method::Post, secret.expose(), Repeat::OnlyIfWithoutEffect);
        let request = request.json(&json!({ "text": escape(&update.text(MAX_CHARS)) }));
        let request = secrets_of(&secret).iter().fold(request, |request, secret| request.hide(secret));
        self.client.call(&SLACK, &request)?;
        Ok(())
    }

    fn tell_bot(&mut self, update: &Update) -> Result<(), NotifyError> {
        let SlackRoute::Bot(bot) = &self.route else { return Ok(()) };
        let posted = match self.threads.get(&update.incident) {
            Some(posted) => bot.follow(&self.client, posted, update)?,
            None => None,
        };
        let posted = match posted {
            Some(posted) => posted,
            None => bot.start(&self.client, update)?,
        };
        if update.is_last {
            self.threads.remove(&update.incident);
        } else {
            self.threads.insert(&update.incident, posted);
        }
        Ok(())
    }
}

impl Notifier for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn tell(&mut self, update: &Update) -> Result<(), NotifyError> {
        match &self.route {
            SlackRoute::Webhook(url) => self.tell_webhook(url, update),
            SlackRoute::Bot(_) => self.tell_bot(update),
        }
    }
}

impl SlackBot {
    fn start(&self, client: &Client, update: &Update) -> Result<Posted, NotifyError> {
        let body = json!({ "channel": self.channel, "text": escape(&update.text(MAX_CHARS)) });
        let Answer { channel, ts, .. } =
            self.call(client, "chat.postMessage", Repeat::OnlyIfWithoutEffect, &body)?;
        Ok(Posted { channel, ts })
    }

    /// Edits the message, which always says what is so now, and adds to its thread, which keeps what
    /// was. Gives `None` when somebody deleted the message.
    fn follow(
        &self,
        client: &Client,
        posted: Posted,
        update: &Update,
    ) -> Result<Option<Posted>, NotifyError> {
        let Posted { channel, ts } = &posted;
        let edit = json!({ "channel": channel, "ts": ts, "text": escape(&update.headline) });
        match self.call(client, "chat.update", Repeat::Harmless, &edit) {
            Err(NotifyError::Call(error)) if error.status() == Some(404) => return Ok(None),
            edited => edited?,
        };
        let reply = json!({ "channel": channel, "thread_ts": ts, "text": escape(&update.text(MAX_CHARS)) });
        self.call(client, "chat.postMessage", Repeat::OnlyIfWithoutEffect, &reply)?;
        Ok(Some(posted))
    }

    fn call(
        &self,
        client: &Client,
        method: &str,
        repeat: Repeat,
        body: &Value,
    ) -> Result<Answer, NotifyError> {
        let request = Request::new(Method::Post, self.base.join(&format!("/{method}")), repeat)
            .body("application/json; charset=utf-8", body.to_string())
            .bearer(&self.token.read()?);
        Ok(open(&client.call(&SLACK, &request)?)?)
    }
}

/// A webhook's URL, its path, and the long parts of that: an endpoint that fails may name any of them.
fn secrets_of(url: &Secret) -> Vec<Secret> {
    let rest = url.expose().split_once("://").map_or(url.expose(), |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let parts = path.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= MIN_SECRET_CHARS);
    let whole = [url.expose(), path].into_iter().filter(|text| !text.is_empty());
    whole.chain(parts).map(Secret::new).collect()
}

/// Slack refuses with 200 and `ok: false`.
fn open(response: &Response) -> Result<Answer, CallError> {
    let answer: Answer = response.json()?;
    match answer.error.as_str() {
        _ if answer.ok => Ok(answer),
        "ratelimited" => Err(response.refused(429, None, answer.error)),
        "channel_not_found" | "message_not_found" | "is_archived" => {
            Err(response.refused(404, None, answer.error))
        }
        error if CREDENTIAL_ERRORS.contains(&error) => Err(response.refused(401, None, answer.error)),
        _ => Err(response.refused(400, None, answer.error)),
    }
}

/// The three characters that mean something in Slack's texts.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_in_which_an_endpoint_names_a_webhook_is_covered() {
        let url = Secret::new("https://hooks.slack.com/services/T0000000000/B0000000000/XXXXXXXXXXXXXXXX");
        let request = Request::new(Method::Post, url.expose(), Repeat::OnlyIfWithoutEffect);
        let request = secrets_of(&url).iter().fold(request, |request, secret| request.hide(secret));
        for echoed in
            [url.expose(), "/services/T0000000000/B0000000000/XXXXXXXXXXXXXXXX", "no XXXXXXXXXXXXXXXX"]
        {
            let text = request.cover(echoed);
            assert!(!text.contains("XXXX") && !text.contains("T000") && text.contains("[secret]"), "{text}");
        }
    }
}
