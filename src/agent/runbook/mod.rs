//! The failover runbook: events and time in, actions out. It knows no clock, no disk, no network.
//!
//! [`Runbook`] takes an [`Event`] and says what to do by [`Action`]s. [`Outlook`] makes an [`Assessment`] of
//! probes and votes.

mod action;
mod assessment;
mod config;
mod event;
mod machine;
mod quorum;
mod status;

pub use action::{Action, Page, Task, TaskId, Work};
pub use assessment::{Assessment, RegionView, Standing, Votes};
pub use config::{Failback, RegionRecord, RunbookConfig, Timing};
pub use event::{Command, Ended, Event, Failure, Notice};
pub use machine::{Accepted, Runbook};
pub use quorum::{Glimpse, Hysteresis, Outlook};
pub use status::{RunbookPlan, RunbookStatus};
