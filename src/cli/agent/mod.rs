//! The agent, from the configuration: what it works with, and how its settings read.

mod explain;
mod providers;

pub(super) use explain::explain;
