//! The services that the agent calls: the pager, chat rooms, summaries, Prometheus, and the way out.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::super::secret::secret;
use super::super::section::{Section, Text};
use super::source::{base_url, base_url_of, ca_file, required_secret};
use crate::agent::https::{BaseUrl, Client, ClientOptions};
use crate::agent::pager::Site;
use crate::agent::secret::{Secret, SecretSource};

const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
const SUMMARY_TIMEOUT: Duration = Duration::from_secs(8);

/// `[agent.pagerduty]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagerDutyConfig {
    /// Takes events.
    pub events_base: BaseUrl,
    /// Answers questions.
    pub rest_base: BaseUrl,
    /// The integration key of an Events API v2 integration.
    pub routing_key: SecretSource,
    /// A REST API key; without one acknowledgements come by webhook or by command only.
    pub rest_key: Option<SecretSource>,
}

/// `[agent.slack]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlackConfig {
    /// An incoming webhook, whose URL is its secret.
    Webhook(SecretSource),
    /// A bot.
    Bot {
        /// The API.
        base: BaseUrl,
        /// The bot's token.
        token: SecretSource,
        /// The channel's id.
        channel: String,
    },
}

/// `[agent.telegram]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelegramConfig {
    /// The API.
    pub base: BaseUrl,
    /// The bot's token.
    pub token: SecretSource,
    /// The chat.
    pub chat_id: String,
}

/// `[agent.webhook]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The whole URL.
    pub url: BaseUrl,
    /// A bearer token.
    pub token: Option<SecretSource>,
}

/// `[agent.summary]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryConfig {
    /// Up to and with `/v1`.
    pub base: BaseUrl,
    /// The model's name.
    pub model: String,
    /// An API key.
    pub key: Option<SecretSource>,
    /// After this the template is used.
    pub timeout: Duration,
}

/// `[agent.prometheus]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusConfig {
    /// The server.
    pub base: BaseUrl,
    /// A bearer token.
    pub token: Option<SecretSource>,
}

/// `[agent.http]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundConfig {
    /// `http://host:port`, without a password.
    pub proxy: Option<String>,
    /// Or the file that holds its URL with one.
    pub proxy_secret: Option<SecretSource>,
    /// PEM certificates trusted instead of the built-in roots.
    pub ca_file: Option<PathBuf>,
}

pub(super) fn read_pagerduty(agent: &mut Section<'_>) -> Option<PagerDutyConfig> {
    agent.get("pagerduty")?;
    let mut section = agent.section("pagerduty");
    let site = section.choice("site", &[("us", Site::Us), ("eu", Site::Eu)]).unwrap_or(Site::Us);
    let events_base = base_url(&mut section, "events_api", site.events_base());
    let rest_base = base_url(&mut section, "rest_api", site.rest_base());
    let routing_key = required_secret(&mut section, ["routing_key_file", "routing_key_credential"]);
    let rest_key = secret(&mut section, ["rest_key_file", "rest_key_credential"]);
    section.finish();
    Some(PagerDutyConfig {
        events_base: events_base?,
        rest_base: rest_base?,
        routing_key: routing_key?,
        rest_key,
    })
}

pub(super) fn read_slack(agent: &mut Section<'_>) -> Option<SlackConfig> {
    agent.get("slack")?;
    let mut section = agent.section("slack");
    let base = base_url(&mut section, "api", "https://slack.com/api");
    let webhook = secret(&mut section, ["webhook_url_file", "webhook_url_credential"]);
    let token = secret(&mut section, ["token_file", "token_credential"]);
    let channel = section.text("channel", "C0123456789");
    let place = section.place();
    section.finish();
    match (webhook, token, channel) {
        (Some(url), None, None) => Some(SlackConfig::Webhook(url)),
        (None, Some(token), Some(channel)) => {
            Some(SlackConfig::Bot { base: base?, token, channel: channel.text.to_owned() })
        }
        _ => {
            let help = "write webhook_url_file for an incoming webhook, or token_file and channel for a bot";
            agent.findings().missing(place, "[agent.slack] names neither a webhook nor a bot, or both", help);
            None
        }
    }
}

pub(super) fn read_telegram(agent: &mut Section<'_>) -> Option<TelegramConfig> {
    agent.get("telegram")?;
    let mut section = agent.section("telegram");
    let base = base_url(&mut section, "api", "https://api.telegram.org");
    let token = required_secret(&mut section, ["token_file", "token_credential"]);
    let chat_id = section.required("chat_id", "-1001234567890");
    section.finish();
    Some(TelegramConfig { base: base?, token: token?, chat_id: chat_id?.text.to_owned() })
}

pub(super) fn read_webhook(agent: &mut Section<'_>) -> Option<WebhookConfig> {
    agent.get("webhook")?;
    let mut section = agent.section("webhook");
    let url = section.required("url", "https://chat.example.com/hook");
    let url = url.and_then(|url| base_url_of(url, agent.findings()));
    let token = secret(&mut section, ["token_file", "token_credential"]);
    section.finish();
    Some(WebhookConfig { url: url?, token })
}

pub(super) fn read_summary(agent: &mut Section<'_>) -> Option<SummaryConfig> {
    agent.get("summary")?;
    let mut section = agent.section("summary");
    let base = section.required("api", "https://api.example.com/v1");
    let base = base.and_then(|base| base_url_of(base, agent.findings()));
    let model = section.required("model", "small-model");
    let key = secret(&mut section, ["key_file", "key_credential"]);
    let timeout = section.duration("timeout", TIMEOUTS).unwrap_or(SUMMARY_TIMEOUT);
    section.finish();
    Some(SummaryConfig { base: base?, model: model?.text.to_owned(), key, timeout })
}

pub(super) fn read_prometheus(agent: &mut Section<'_>) -> Option<PrometheusConfig> {
    agent.get("prometheus")?;
    let mut section = agent.section("prometheus");
    let base = section.required("url", "http://127.0.0.1:9090");
    let base = base.and_then(|base| base_url_of(base, agent.findings()));
    let token = secret(&mut section, ["token_file", "token_credential"]);
    section.finish();
    Some(PrometheusConfig { base: base?, token })
}

pub(super) fn read_outbound(agent: &mut Section<'_>) -> OutboundConfig {
    let findings = agent.findings();
    let mut section = agent.section("http");
    let proxy = section.text("proxy", "http://proxy.example.com:3128");
    let proxy_secret = secret(&mut section, ["proxy_file", "proxy_credential"]);
    let ca_file = ca_file(&mut section, "/etc/ssl/certs/ca-certificates.crt");
    if let (Some(Text { place, .. }), Some(_)) = (proxy, &proxy_secret) {
        findings.wrong(place, "[agent.http] names two proxies", "keep one of them");
    }
    section.finish();
    if let Some(Text { text, place }) = proxy {
        let options = ClientOptions { proxy: Some(Secret::new(text)), ..ClientOptions::default() };
        if text.contains('@') {
            let help = "write the whole URL into a file and name it by proxy_file";
            findings.wrong(place, "the URL of the proxy holds a password, which is never in this file", help);
        } else if let Err(error) = Client::new(&options) {
            findings.wrong(place, error.to_string(), "write proxy = \"http://proxy.example.com:3128\"");
        }
    }
    OutboundConfig { proxy: proxy.map(|proxy| proxy.text.to_owned()), proxy_secret, ca_file }
}
