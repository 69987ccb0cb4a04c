//! The secrets that the agent's settings name.

use crate::agent::secret::SecretSource;
use crate::config::{AgentConfig, ProviderConfig, ScaleHow, SlackConfig};

/// Secrets that cannot be read now. They are read when they are used, so this hinders nobody from serving; but
/// people who rely on a page must know it before the first one. One that is used in two places is named once.
pub(crate) fn unusable(agent: &AgentConfig) -> Vec<String> {
    let mut problems = Vec::new();
    for problem in secrets(agent).into_iter().filter_map(SecretSource::problem) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems
}

/// All that are named.
pub(crate) fn secrets(agent: &AgentConfig) -> Vec<&SecretSource> {
    let mut list: Vec<&SecretSource> =
        agent.witnesses.iter().filter_map(|witness| witness.token.as_ref()).collect();
    for config in std::iter::once(&agent.traffic).chain(agent.drill.as_ref().map(|drill| &drill.traffic)) {
        match &config.provider {
            ProviderConfig::Cloudflare(access) | ProviderConfig::CloudflareLb { access, .. } => {
                list.push(&access.token);
            }
            ProviderConfig::Route53 { secret_access_key, session_token, .. } => {
                list.push(secret_access_key);
                list.extend(session_token);
            }
            ProviderConfig::Rfc2136 { key, .. } => list.push(key),
            ProviderConfig::Exec { .. } => {}
        }
    }
    if let Some(pager) = &agent.pagerduty {
        list.push(&pager.routing_key);
        list.extend(&pager.rest_key);
    }
    list.extend(agent.slack.iter().map(|slack| match slack {
        SlackConfig::Webhook(secret) | SlackConfig::Bot { token: secret, .. } => secret,
    }));
    list.extend(agent.telegram.iter().map(|telegram| &telegram.token));
    list.extend(agent.webhook.iter().filter_map(|webhook| webhook.token.as_ref()));
    list.extend(agent.summary.iter().filter_map(|summary| summary.key.as_ref()));
    list.extend(agent.prometheus.iter().filter_map(|prometheus| prometheus.token.as_ref()));
    list.extend(agent.scale.iter().filter_map(|scale| match &scale.how {
        ScaleHow::Kubernetes { token, .. } => Some(token),
        ScaleHow::Command { .. } => None,
    }));
    list.extend(&agent.http.proxy_secret);
    list
}
