//! What is sent and what comes back.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CallError, Failure, Service};
use super::retry::Repeat;
use crate::agent::secret::Secret;

/// The methods that the agent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates, or asks for an action.
    Post,
    /// Changes a part.
    Patch,
}

impl Method {
    /// As it stands in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
        }
    }
}

/// One request. What it shows of itself has its secrets covered.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<String>,
    pub(super) repeat: Repeat,
    secrets: Vec<Secret>,
}

impl Request {
    /// A read, which may be repeated.
    #[must_use]
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url, Repeat::Harmless)
    }

    /// A request of another method.
    #[must_use]
    pub fn new(method: Method, url: impl Into<String>, repeat: Repeat) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: None, repeat, secrets: Vec::new() }
    }

    /// The same, repeated as `repeat` says.
    #[must_use]
    pub(crate) fn with_repeat(self, repeat: Repeat) -> Self {
        Self { repeat, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds a header that holds `secret` after `prefix`.
    #[must_use]
    pub fn secret_header(self, name: &'static str, prefix: &str, secret: &Secret) -> Self {
        self.header(name, format!("{prefix}{}", secret.expose())).hide(secret)
    }

    /// Authorises by a bearer token.
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Self {
        self.secret_header("Authorization", "Bearer ", token)
    }

    /// Sends `value` as JSON.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// Sends `body` as `content_type`.
    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: String) -> Self {
        self.body = Some(body);
        self.header("Content-Type", content_type)
    }

    /// Covers `secret` wherever it stands in what this request shows.
    #[must_use]
    pub fn hide(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }

    /// Method, URL and body, for a plan.
    #[must_use]
    pub fn shown(&self) -> String {
        let body = self.body.as_deref().unwrap_or_default();
        self.cover(format!("{} {} {body}", self.method.name(), self.url).trim_end())
    }

    pub(crate) const fn method_name(&self) -> &'static str {
        self.method.name()
    }

    /// The path from its slash, and the query without its mark.
    pub(crate) fn path_and_query(&self) -> (&str, &str) {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
        path.split_once('?').unwrap_or((path, ""))
    }

    pub(crate) fn body_bytes(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default().as_bytes()
    }

    /// Method and URL, for an error.
    pub(super) fn call(&self) -> String {
        self.cover(&format!("{} {}", self.method.name(), self.url))
    }

    /// `text` without the secrets of this request, which a server may have echoed.
    pub(in crate::agent) fn cover(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| secret.cover(&text))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({})", self.shown())
    }
}

/// A successful answer (2xx).
#[derive(Clone)]
pub struct Response {
    pub(super) service: &'static Service,
    pub(super) call: String,
    pub(super) status: u16,
    pub(super) date: Option<SystemTime>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// When it was answered, by the clock of whoever answered, to the second.
    #[must_use]
    pub const fn date(&self) -> Option<SystemTime> {
        self.date
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(error))
    }

    /// An answer that is not what it should be.
    #[must_use]
    pub fn not_understood(&self, why: impl fmt::Display) -> CallError {
        CallError::new(self.service, self.call.clone(), Failure::NotUnderstood(why.to_string()))
    }

    /// An answer that speaks of success by its status and of failure in its body.
    #[must_use]
    pub fn refused(&self, code: u16, retry_after: Option<Duration>, why: impl fmt::Display) -> CallError {
        let failure = Failure::Status { code, retry_after, excerpt: why.to_string() };
        CallError::new(self.service, self.call.clone(), failure)
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({} to {}, {} bytes)", self.status, self.call, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_request_shows_of_itself_has_no_secret() {
        let token = Secret::new("hunter2");
        let request = Request::new(Method::Post, "https://a/bothunter2/send", Repeat::Harmless)
            .bearer(&token)
            .json(&json!({"key": "hunter2", "text": "hello"}));
        let shown = r#"POST https://a/bot[secret]/send {"key":"[secret]","text":"hello"}"#;
        assert_eq!(request.shown(), shown);
        assert_eq!(request.call(), "POST https://a/bot[secret]/send");
        assert!(!format!("{request:?}").contains("hunter2"));
    }
}
