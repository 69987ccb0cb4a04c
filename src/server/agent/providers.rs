//! What the agent works with, made of its settings.

use std::path::Path;
use std::time::Duration;

use crate::agent::command::CommandLine;
use crate::agent::gitops::{Checkout, Push};
use crate::agent::history::SubjectsError;
use crate::agent::https::{BaseUrl, Client, ClientOptions, RetryPolicy, SetupError};
use crate::agent::notify::{Notifier, Slack, SlackBot, SlackRoute, Summariser, Telegram, Webhook};
use crate::agent::pager::{PagerDuty, RestAccess, Spool};
use crate::agent::scale::{CommandScaler, KubernetesScaler, Scaler, Workload};
use crate::agent::secret::Secret;
use crate::agent::signals::TrustError;
use crate::agent::traffic::{
    AwsKeys, CloudflareAccess, CloudflareLoadBalancer, CloudflareRecord, ExecProvider, PublicView, Rfc2136,
    Route53, TrafficProvider, TsigKey, Zone,
};
use crate::config::{
    AgentConfig, CloudflareConfig, GitOpsConfig, OutboundConfig, PagerDutyConfig, ProviderConfig,
    ScaleConfig, ScaleHow, SlackConfig, SummaryConfig, TrafficConfig,
};

/// For one question to a zone's server.
const VIEW_TIMEOUT: Duration = Duration::from_secs(1);
/// A page is kept on disk and sent again later rather than waited for: a switch may wait for it.
const PAGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a part of the agent cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(transparent)]
    Client(#[from] SetupError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    History(#[from] SubjectsError),
}

/// The way out.
pub(crate) fn client(
    http: &OutboundConfig,
    change: impl FnOnce(&mut ClientOptions),
) -> Result<Client, PartError> {
    let mut options = ClientOptions {
        proxy: http.proxy.as_deref().map(Secret::new),
        proxy_source: http.proxy_secret.clone(),
        ca_file: http.ca_file.clone(),
        ..ClientOptions::default()
    };
    change(&mut options);
    Ok(Client::new(&options)?)
}

pub(crate) fn traffic(config: &TrafficConfig, client: &Client) -> Box<dyn TrafficProvider + Send> {
    let view = PublicView { servers: config.servers.clone(), timeout: VIEW_TIMEOUT };
    let (name, kind) = (config.name.clone(), config.kind.clone());
    match &config.provider {
        ProviderConfig::Cloudflare(cloudflare) => {
            let (access, zone) = cloudflare_access(cloudflare, client);
            Box::new(CloudflareRecord { access, zone, name, kind, view })
        }
        ProviderConfig::CloudflareLb { access, account_id, load_balancer_id } => {
            let (access, zone) = cloudflare_access(access, client);
            let (account_id, load_balancer_id) = (account_id.clone(), load_balancer_id.clone());
            Box::new(CloudflareLoadBalancer { access, zone, account_id, load_balancer_id })
        }
        ProviderConfig::Route53 {
            base,
            zone_id,
            access_key_id,
            secret_access_key,
            session_token,
            set_identifiers,
        } => Box::new(Route53 {
            client: client.clone(),
            base: base.clone(),
            keys: AwsKeys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: session_token.clone(),
            },
            zone_id: zone_id.clone(),
            name,
            kind,
            set_identifiers: set_identifiers.clone(),
            view,
            pending_change: None,
        }),
        ProviderConfig::Rfc2136 { server, zone, key_name, algorithm, key, timeout } => Box::new(Rfc2136 {
            server: server.clone(),
            zone: zone.clone(),
            name,
            kind,
            key: TsigKey { name: key_name.clone(), algorithm: algorithm.clone(), secret: key.clone() },
            timeout: *timeout,
            view,
        }),
        ProviderConfig::Exec { command, timeout } => Box::new(ExecProvider {
            command: command_line(command, *timeout),
            name,
            kind,
            ttl_s: config.ttl_s,
        }),
    }
}

/// The provider in a word, as the configuration has it.
pub(crate) const fn provider_name(provider: &ProviderConfig) -> &'static str {
    match provider {
        ProviderConfig::Cloudflare(_) => "cloudflare",
        ProviderConfig::CloudflareLb { .. } => "cloudflare_lb",
        ProviderConfig::Route53 { .. } => "route53",
        ProviderConfig::Rfc2136 { .. } => "rfc2136",
        ProviderConfig::Exec { .. } => "exec",
    }
}

fn cloudflare_access(config: &CloudflareConfig, client: &Client) -> (CloudflareAccess, Zone) {
    let access =
        CloudflareAccess { client: client.clone(), base: config.base.clone(), token: config.token.clone() };
    let zone = config.zone_id.clone().map_or_else(|| Zone::Name(config.zone.clone()), Zone::Id);
    (access, zone)
}

fn command_line(words: &[String], timeout: Duration) -> CommandLine {
    let program = words.first().map(String::as_str).unwrap_or_default();
    CommandLine { timeout, ..CommandLine::new(program, words.iter().skip(1)) }
}

pub(super) fn pager(
    config: &PagerDutyConfig,
    http: &OutboundConfig,
    spool: &Path,
) -> Result<PagerDuty, PartError> {
    let client = client(http, |options| {
        options.timeout = PAGE_TIMEOUT;
        options.retry = RetryPolicy { attempts: 3, total: Duration::from_secs(5), ..options.retry };
    })?;
    let rest = config.rest_key.clone().map(|key| RestAccess { base: config.rest_base.clone(), key });
    Ok(PagerDuty {
        client,
        events_base: config.events_base.clone(),
        routing_key: config.routing_key.clone(),
        rest,
        spool: Spool::open(spool),
    })
}

pub(super) fn notifiers(config: &AgentConfig, client: &Client) -> Vec<Box<dyn Notifier + Send>> {
    let mut list: Vec<Box<dyn Notifier + Send>> = Vec::new();
    if let Some(slack) = &config.slack {
        let route = match slack {
            SlackConfig::Webhook(url) => SlackRoute::Webhook(url.clone()),
            SlackConfig::Bot { base, token, channel } => SlackRoute::Bot(SlackBot {
                base: base.clone(),
                token: token.clone(),
                channel: channel.clone(),
            }),
        };
        list.push(Box::new(Slack::new(client.clone(), route)));
    }
    if let Some(telegram) = &config.telegram {
        let (base, token) = (telegram.base.clone(), telegram.token.clone());
        list.push(Box::new(Telegram::new(client.clone(), base, token, telegram.chat_id.clone())));
    }
    if let Some(webhook) = &config.webhook {
        let (url, token) = (webhook.url.clone(), webhook.token.clone());
        list.push(Box::new(Webhook { client: client.clone(), url, token }));
    }
    list
}

pub(super) fn summariser(config: &SummaryConfig, http: &OutboundConfig) -> Result<Summariser, PartError> {
    let client = client(http, |options| {
        options.timeout = config.timeout;
        options.retry = RetryPolicy::ONCE;
    })?;
    Ok(Summariser { client, base: config.base.clone(), model: config.model.clone(), key: config.key.clone() })
}

pub(super) fn scaler(
    config: &ScaleConfig,
    http: &OutboundConfig,
) -> Result<Box<dyn Scaler + Send>, PartError> {
    let ceiling = config.ceiling;
    Ok(match &config.how {
        ScaleHow::Kubernetes { base, token, ca_file, namespace, resource, name } => {
            let client = client(http, |options| {
                if let Some(ca_file) = ca_file {
                    options.ca_file = Some(ca_file.clone());
                }
            })?;
            let (namespace, resource, name) = (namespace.clone(), resource.clone(), name.clone());
            let workload = Workload { namespace, resource, name };
            let (base, token): (BaseUrl, _) = (base.clone(), token.clone());
            Box::new(KubernetesScaler { client, base, token, workload, ceiling })
        }
        ScaleHow::Command { command, usual, timeout } => {
            Box::new(CommandScaler { command: command_line(command, *timeout), usual: *usual, ceiling })
        }
    })
}

pub(super) fn checkout(config: &GitOpsConfig) -> Checkout {
    let push = config.push.clone().map(|(remote, branch)| Push { remote, branch });
    Checkout {
        directory: config.directory.clone(),
        file: config.file.clone(),
        key: config.key.clone(),
        author: config.author.clone(),
        push,
        timeout: config.timeout,
    }
}
