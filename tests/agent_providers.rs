//! Promises of the agent's providers over real sockets: against stand-ins written from the published
//! descriptions of the APIs, strict about what they are sent, and against real BIND and moto.
#![allow(clippy::unwrap_used)]

#[path = "agent_providers/bind.rs"]
mod bind;
#[path = "agent_providers/cloudflare.rs"]
mod cloudflare;
#[path = "agent_providers/exec.rs"]
mod exec;
#[path = "agent_providers/fake.rs"]
mod fake;
#[path = "agent_providers/git.rs"]
mod git;
#[path = "agent_providers/https.rs"]
mod https;
#[path = "agent_providers/kubernetes.rs"]
mod kubernetes;
#[path = "agent_providers/moto.rs"]
mod moto;
#[path = "agent_providers/notify.rs"]
mod notify;
#[path = "agent_providers/pagerduty.rs"]
mod pagerduty;
mod ports;
#[path = "agent_providers/probe.rs"]
mod probe;
#[path = "agent_providers/prometheus.rs"]
mod prometheus;
#[path = "agent_providers/route53.rs"]
mod route53;
#[path = "agent_providers/secrets.rs"]
mod secrets;
#[path = "agent_providers/support.rs"]
mod support;
