//! A load generator for rate checks, on the same rings as the server.
//!
//! [`run()`] carries out a [`Plan`] and gives a [`Summary`]. In closed loop each connection asks again
//! when it is answered; in open loop requests are due at fixed times, and latencies count from those
//! (`schedule`). What to ask (`keys`, `request`), what is answered (`response`) and what is counted
//! (`record`) is pure; `worker` does the IO, one ring a thread; `report` shows the result.

mod error;
mod keys;
mod plan;
mod plot;
mod reach;
mod record;
mod report;
mod request;
mod response;
mod run;
mod schedule;
mod summary;
mod worker;

pub use error::LoadError;
pub use keys::{Distribution, DistributionError, Exponent};
pub use plan::{
    MAX_CONNECTIONS, MAX_DURATION, MAX_KEYS, MAX_PIPELINE, MAX_RATE, MAX_THREADS, MAX_TIMEOUT, Plan,
    PlanError, Settings, Target, TargetError,
};
pub use record::{ErrorKind, Record};
pub use report::{json, live_line, table};
pub use run::{Progress, run};
pub use summary::{Ended, Summary};
