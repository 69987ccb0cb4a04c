//! Telegram: a bot whose message is edited as the incident moves on.

use serde::Deserialize;
use serde_json::{Value, json};

use super::threads::Threads;
use super::{Notifier, NotifyError, Update};
use crate::agent::https::{BaseUrl, CallError, Client, Method, Repeat, Request, Service};
use crate::agent::secret::SecretSource;

static TELEGRAM: Service = Service {
    name: "Telegram",
    credential: "check the bot's token (@BotFather shows it) and that the bot is in the chat and may write \
        there",
    status_page: None,
    throttle_marks: &[],
};
/// The API refuses longer texts.
const MAX_CHARS: usize = 4096;
/// What the API says to an edit that changes nothing.
const UNCHANGED: &str = "message is not modified";
/// What the API says to an edit of a message that somebody deleted.
const GONE: &str = "message to edit not found";

/// A chat.
#[derive(Debug)]
pub struct Telegram {
    client: Client,
    base: BaseUrl,
    token: SecretSource,
    chat_id: String,
    /// Message number of each incident, with the text that it has.
    threads: Threads<(i64, String)>,
}

#[derive(Deserialize)]
struct Answer {
    result: Message,
}

#[derive(Deserialize)]
struct Message {
    message_id: i64,
}

impl Telegram {
    /// Writes to `chat_id` by `base` (`https://api.telegram.org`).
    #[must_use]
    pub fn new(client: Client, base: BaseUrl, token: SecretSource, chat_id: String) -> Self {
        Self { client, base, token, chat_id, threads: Threads::default() }
    }

    fn call(&self, method: &str, repeat: Repeat, body: &Value) -> Result<i64, NotifyError> {
        let token = self.token.read()?;
        // The token is part of the path, so it is covered before anything is shown.
        let url = self.base.join(&format!("/bot{}/{method}", token.expose()));
        let request = Request::new(Method::Post, url, repeat).json(body).hide(&token);
        let answer: Answer = self.client.call(&TELEGRAM, &request)?.json()?;
        Ok(answer.result.message_id)
    }

    fn post(&self, text: &str) -> Result<i64, NotifyError> {
        let body =
            json!({ "chat_id": self.chat_id, "text": text, "link_preview_options": { "is_disabled": true } });
        self.call("sendMessage", Repeat::OnlyIfWithoutEffect, &body)
    }

    fn edit(&self, message_id: i64, text: &str) -> Result<(), NotifyError> {
        let body = json!({
            "chat_id": self.chat_id, "message_id": message_id, "text": text,
            "link_preview_options": { "is_disabled": true },
        });
        match self.call("editMessageText", Repeat::Harmless, &body) {
            Err(NotifyError::Call(error)) if is_refused_with(&error, UNCHANGED) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Notifier for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn tell(&mut self, update: &Update) -> Result<(), NotifyError> {
        let text = update.text(MAX_CHARS);
        let message_id = match self.threads.get(&update.incident) {
            Some((message_id, before)) if before == text => message_id,
            Some((message_id, _)) => match self.edit(message_id, &text) {
                Err(NotifyError::Call(error)) if is_refused_with(&error, GONE) => self.post(&text)?,
                edited => edited.map(|()| message_id)?,
            },
            None => self.post(&text)?,
        };
        if update.is_last {
            self.threads.remove(&update.incident);
        } else {
            self.threads.insert(&update.incident, (message_id, text));
        }
        Ok(())
    }
}

fn is_refused_with(error: &CallError, words: &str) -> bool {
    error.status() == Some(400) && error.to_string().contains(words)
}
