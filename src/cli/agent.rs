//! The agent's settings in words, with what each provider can and cannot do.

use crate::config::{AgentConfig, Failback, SlackConfig, TrafficConfig, written};
use crate::counted::counted;
use crate::server::agent::providers::{client, provider_name, traffic};
use crate::server::agent::secrets::unusable;

/// Lines for `check-config`, each with a name or without one.
pub(super) fn explain(agent: &AgentConfig) -> Vec<(&'static str, String)> {
    let names: Vec<&str> = agent.regions.iter().map(|region| region.name.0.as_str()).collect();
    let dry_run = if agent.dry_run { ", dry run: writes nothing" } else { "" };
    let mode = agent.mode.name();
    let mut lines =
        vec![("agent", format!("{mode}, region {} of {}{dry_run}", agent.own_region, names.join(", ")))];
    let failback = match agent.pace.failback {
        Failback::Manual => "by hand".to_owned(),
        Failback::After(after) => format!("after {} without a fault", written(after)),
    };
    let pace = &agent.pace;
    lines.push((
        "",
        format!(
            "at most one switch in {} and {} a day without a person; back {failback}",
            written(pace.cooldown),
            pace.max_switches_per_day
        ),
    ));
    let witnesses = counted(agent.witnesses.len(), "witness", "witnesses");
    lines.push(("", format!("{witnesses}; the public name is {}", agent.public.url)));
    lines.extend(people(agent).into_iter().map(|line| ("", line)));
    lines.extend(record("traffic", &agent.traffic, agent));
    if let Some(drill) = &agent.drill {
        lines.extend(record("drill", &drill.traffic, agent));
    }
    lines.extend(unusable(agent).into_iter().map(|line| ("note", line)));
    lines
}

fn people(agent: &AgentConfig) -> Vec<String> {
    let mut lines = Vec::new();
    match &agent.pagerduty {
        None => lines.push("nobody is paged: there is no [agent.pagerduty]".to_owned()),
        Some(pager) => {
            let asks = if pager.rest_key.is_some() {
                "asks for acknowledgements"
            } else {
                "does not ask for acknowledgements (no rest_key_file)"
            };
            lines.push(format!("pages by {}, {asks}", pager.events_base));
        }
    }
    let rooms = [
        agent.slack.as_ref().map(|slack| match slack {
            SlackConfig::Webhook(_) => "Slack (webhook: a message for each update)",
            SlackConfig::Bot { .. } => "Slack",
        }),
        agent.telegram.as_ref().map(|_| "Telegram"),
        agent.webhook.as_ref().map(|_| "a webhook"),
    ];
    let rooms: Vec<&str> = rooms.into_iter().flatten().collect();
    if !rooms.is_empty() {
        lines.push(format!("tells {}", rooms.join(", ")));
    }
    lines
}

/// A record, and what its provider can and cannot do.
fn record(name: &'static str, config: &TrafficConfig, agent: &AgentConfig) -> Vec<(&'static str, String)> {
    let mut lines =
        vec![(name, format!("{} {} {}", provider_name(&config.provider), config.kind, config.name))];
    match client(&agent.http, |_| {}) {
        Ok(client) => {
            let limits = traffic(config, &client).limits(config.ttl_s);
            lines.extend(limits.into_iter().map(|limit| ("", format!("  {limit}"))));
        }
        Err(error) => lines.push(("note", error.to_string())),
    }
    lines
}
