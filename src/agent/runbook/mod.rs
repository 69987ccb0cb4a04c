//! The failover runbook: events and time in, actions out. It knows no clock, no disk, no network.
//!
//! [`Runbook`] takes an [`Event`] and says what to do by [`Action`]s. [`Outlook`] makes an [`Assessment`] of
//! probes and votes. The incident is in one of the states of `incident`; how it goes on from each is in `detect`
//! (until it is approved), `trial` (Preflight, Validating), `switch`, `restore` and `tell` (its end); `beside` has
//! what becomes of other regions meanwhile. `guard` has the rules of safety, one a function; `resume` gets from the
//! journal's lines to the same state, `catch_up` when they are read late.

mod action;
mod assessment;
mod beside;
#[cfg(test)]
mod beside_tests;
mod catch_up;
#[cfg(test)]
mod catch_up_tests;
mod command;
mod config;
mod detect;
mod errand;
mod event;
mod guard;
mod incident;
mod ledger;
mod machine;
mod notice;
#[cfg(test)]
mod notice_tests;
#[cfg(test)]
mod property_tests;
mod quorum;
mod record_set;
mod restore;
mod resume;
mod status;
#[cfg(test)]
mod story;
#[cfg(test)]
mod story_tests;
mod switch;
mod tell;
#[cfg(test)]
mod test_support;
mod trial;
mod tries;
#[cfg(test)]
mod trouble_tests;

pub use super::orders::Command;
pub use action::{Action, Page, Task, TaskId, Work};
pub use assessment::{Assessment, RegionView, Standing, Votes};
pub use command::Accepted;
pub use config::{Failback, RegionRecord, RunbookConfig, Timing};
pub use event::{Ended, Event, Failure, Notice, Scope};
pub use machine::Runbook;
pub use quorum::{Glimpse, Hysteresis, Outlook};
pub use status::{RunbookPlan, RunbookStatus};
pub use tries::GRACE_MS;
