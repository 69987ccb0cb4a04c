//! Who is woken: PagerDuty.
//!
//! [`PagerDuty`] sends events (`events`) and keeps those that do not get through (`spool`); it learns of
//! an acknowledgement by asking (`acknowledgement`) or by being told (`webhook`, which is pure).

mod acknowledgement;
mod events;
mod pagerduty;
mod spool;
pub mod webhook;

pub use acknowledgement::{Acknowledged, PageState};
pub use events::{Event, EventAction, Link, MAX_DEDUP_KEY_CHARS, Severity};
pub use pagerduty::{Delivery, Flushed, PagerDuty, PagerError, RestAccess, Site};
pub use spool::{Spool, SpoolError};
