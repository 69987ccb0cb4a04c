//! Promises of the agent's providers over real sockets: against stand-ins written from the published
//! descriptions of the APIs, strict about what they are sent, and against real BIND and moto.
#![allow(clippy::unwrap_used)]

mod bind;
mod cloudflare;
#[path = "../common/mod.rs"]
mod common;
mod exec;
mod git;
mod https;
mod kubernetes;
mod moto;
mod notify;
mod pagerduty;
mod probe;
mod prometheus;
mod route53;
mod secrets;
