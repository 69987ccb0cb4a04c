//! A plain webhook: one JSON object an update.

use serde_json::json;

use super::{Notifier, NotifyError, Update};
use crate::agent::https::{BaseUrl, Client, Method, Repeat, Request, Service};
use crate::agent::secret::SecretSource;

static WEBHOOK: Service = Service {
    name: "the webhook",
    credential: "check the token that goes with the webhook",
    status_page: None,
    throttle_marks: &[],
};
const MAX_CHARS: usize = 16_000;

/// A receiver of JSON: `{"incident", "headline", "steps", "text", "last"}`.
#[derive(Debug)]
pub struct Webhook {
    /// Sends the calls.
    pub client: Client,
    /// The whole URL.
    pub url: BaseUrl,
    /// A bearer token, when the receiver wants one.
    pub token: Option<SecretSource>,
}

impl Notifier for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn tell(&mut self, update: &Update) -> Result<(), NotifyError> {
        let body = json!({
            "incident": update.incident.0,
            "headline": update.headline,
            "steps": update.steps,
            "text": update.text(MAX_CHARS),
            "last": update.is_last,
        });
        let mut request =
            Request::new(Method::Post, self.url.to_string(), Repeat::OnlyIfWithoutEffect).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer(&token.read()?);
        }
        self.client.call(&WEBHOOK, &request)?;
        Ok(())
    }
}
