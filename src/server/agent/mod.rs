//! The agent, from the configuration: what it works with, how it starts.

mod prepare;
pub(crate) mod providers;
pub(crate) mod secrets;

use std::sync::Arc;

use crossbeam::channel::{Sender, bounded};

use prepare::prepare;
use providers::PartError;

use crate::agent::engine::{Agent, AgentError};
use crate::agent::orders::OrderRequest;
use crate::config::Config;
use crate::health::Health;
use crate::metrics::Published;

/// Orders that wait for the agent, which answers each at once.
const ORDERS_QUEUED: usize = 16;

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the agent cannot be set up: {0}")]
    Part(#[from] PartError),
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// Starts the agent and gives the way to it, where the configuration has one.
pub(super) fn start(
    config: &Config,
    published: &Arc<Published>,
    health: &Arc<Health>,
) -> Result<Option<(Agent, Sender<OrderRequest>)>, StartError> {
    // The configuration has no agent without a state directory.
    let (Some(agent), Some(state)) = (&config.agent, &config.state) else { return Ok(None) };
    let (order, orders) = bounded(ORDERS_QUEUED);
    let parts = prepare(config, agent, state, published, health, orders)?;
    Ok(Some((Agent::start(parts)?, order)))
}
