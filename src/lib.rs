//! OpenClaw Rating: a rate-limit server for edge hosts.
//!
//! One question, millions of times a second: *may this key spend N tokens now?* Three planes answer it.
//!
//! * The **data plane** is one pinned thread a core, each with an io_uring of its own. Bytes of a
//!   connection arrive in a provided buffer, become checks, and leave as answers, one send a turn.
//! * The **control plane** is one executor on its own thread: metrics, reload, watchdog.
//! * Planes meet only in the lock-free bucket table, in per-core counters and in channels.
//!
//! A check goes from the ring to the service that parses it, to the bucket that decides it with one
//! compare-exchange, and back. Everything up to the rings is pure: time and bytes come in.

pub mod admin;
pub mod agent;
pub mod api;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod control_plane;
pub mod data_plane;
pub mod durability;
pub mod health;
pub mod http;
pub mod link;
pub mod load;
pub mod memory;
pub mod metrics;
pub mod replica;
pub mod ring;
mod server;
pub mod service_manager;
pub mod time;

mod bind;
mod counted;
mod files;
mod hex;
mod limits;
mod percent;
