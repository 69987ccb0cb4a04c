//! The agent: what a person on call would do, done with care.
//!
//! One ordinary thread with blocking calls. What decides is pure; what touches the world is behind
//! traits: where traffic goes (`traffic`), who is woken (`pager`), who is told (`notify`), how much
//! runs (`scale`, `gitops`). All of it goes out by `https` or by `command`, with a limit on everything.

pub mod command;
pub mod engine;
pub mod gitops;
pub mod history;
pub mod https;
pub mod journal;
pub mod notify;
pub mod orders;
pub mod pager;
pub mod report;
pub mod runbook;
pub mod scale;
pub mod secret;
pub mod signals;
pub mod traffic;
pub mod types;

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Added to the niceness of the agent's threads: a check goes first.
const NICENESS: i32 = 5;

/// Lets the calling thread step back behind those that answer checks, where that may be had.
fn lower_priority() {
    let _ = rustix::process::nice(NICENESS);
}

/// Joins `thread` if it ends by `deadline`; else leaves it behind.
fn join_until(thread: &mut Option<JoinHandle<()>>, deadline: Instant) {
    while let Some(running) = thread.take_if(|running| running.is_finished() || Instant::now() < deadline) {
        if running.is_finished() {
            let _ = running.join();
            return;
        }
        *thread = Some(running);
        std::thread::sleep(Duration::from_millis(5));
    }
}
