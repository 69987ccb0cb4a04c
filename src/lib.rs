//! OpenClaw Rating: a rate-limit server for edge hosts.
//!
//! One question, millions of times a second: *may this key spend N tokens now?* Two planes answer it, and an agent
//! looks after the regions:
//!
//! * The **data plane** is one pinned thread a core, each with an io_uring of its own. Bytes of a
//!   connection arrive in a provided buffer, become checks, and leave as answers, one send a turn.
//! * The **control plane** is one executor on its own thread: the metrics page, the watchdog over the data threads, and
//!   the socket by which nodes tell each other what they admit.
//! * The **agent** is one ordinary thread and its helpers: it watches the regions, wakes people, and moves the public
//!   record by a pure runbook. It is never on the path of a check.
//!
//! They meet in the lock-free bucket table, in counters, in values that are swapped whole, and in channels: none of
//! them waits for another.
//!
//! A check goes from the ring to the service that parses it, to the bucket that decides it with one
//! compare-exchange, and back. Everything up to the rings is pure: time and bytes come in.
//!
//! Where to find what:
//!
//! * below the planes, without IO: `bucket` (limits, tokens, the table), `http` (requests), `api` (routes and answers),
//!   `replica` (counters of all nodes merged) and `link` (what nodes say, sealed); `ring` is the loop around io_uring;
//! * beside them: `config` (a file into valid settings), `admin` (what people ask and order), `durability` (what
//!   outlives the process), `metrics`, `service_manager` (systemd);
//! * `load` asks a server, to measure it; `cli` has the subcommands, and `server` is where a server is
//!   put together, started and stopped.
//!
//! `docs/ARCHITECTURE.md` has the floors that these stand on, and the reasons.

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
