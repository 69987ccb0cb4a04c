//! What people, and other programs, ask a running server and tell it: HTTP apart from the data port.
//!
//! On a Unix socket who may ask is a matter of file permissions; on TCP it takes a token (`gate`).
//! `route`, `order`, `throttle` and `page` are pure; `listener`, `server`, `places` and `exchange` carry questions, few
//! at a time and each within a time; the [`Desk`] has them answered: by the table (`inspector`), from the
//! journal (`audit`), by the main thread, or by the agent, over its channel (`order`, `webhooks`). [`client`] is the
//! other end, for the command line.

mod answer;
pub mod audit;
pub mod bucket;
mod caller;
pub mod client;
mod desk;
mod exchange;
mod gate;
mod inspector;
mod listener;
mod order;
mod page;
mod places;
mod route;
mod server;
pub mod status;
#[cfg(test)]
pub(crate) mod tests;
mod throttle;
mod webhooks;

pub use answer::Refusal;
pub use desk::{Desk, DeskParts, Drained, ReloadRequest, Reloaded};
pub use inspector::InspectorParts;
pub use server::{AdminError, AdminServer};
