//! Persons: who answers a page, and who types commands at any moment.

use openclaw_rating::agent::runbook::Command;
use openclaw_rating::agent::types::Region;

/// What the person on call does about a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCall {
    /// Nothing.
    Sleeps,
    /// Acknowledges it at the pager, so much later.
    Acknowledges { after_ms: u64 },
    /// Declines on every node, so much later.
    Declines { after_ms: u64 },
}

/// A command at some moment on some node.
#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub(crate) at_ms: u64,
    pub(crate) node: usize,
    pub(crate) command: Command,
}

/// Somebody changes the record past all agents; `None` makes it a value of nobody.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pub(crate) at_ms: u64,
    pub(crate) to: Option<Vec<usize>>,
}

pub(crate) fn name_of(region: usize) -> Region {
    Region(["eu", "us", "ap"][region].to_owned())
}

pub(crate) fn index_of(region: &Region) -> usize {
    (0..3).find(|index| name_of(*index) == *region).unwrap()
}
