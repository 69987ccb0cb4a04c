//! The agent: what a person on call would do, done with care.
//!
//! One ordinary thread with blocking calls. What decides is pure; what touches the world is behind
//! traits: where traffic goes (`traffic`), who is woken (`pager`), who is told (`notify`), how much
//! runs (`scale`, `gitops`). All of it goes out by `https` or by `command`, with a limit on everything.

pub mod command;
pub mod gitops;
pub mod history;
pub mod https;
pub mod journal;
pub mod notify;
pub mod pager;
pub mod report;
pub mod scale;
pub mod secret;
pub mod traffic;
pub mod types;
