//! What the server tells about itself: counters and histograms that each data thread writes alone
//! ([`core`], [`latency`]), how full the buckets are ([`FillScan`]), the process; added up and rendered
//! ([`Page`]) only when somebody asks.

mod exposition;
mod family;
mod fill;
mod process;
mod published;
mod reloads;
mod vitals;

pub mod core;
pub mod latency;

pub use exposition::{Page, WatchedLevel};
pub use family::Family;
pub use fill::{FillRatios, FillScan};
pub use process::ProcessStats;
pub use published::Published;
pub use reloads::Reloads;
pub use vitals::{PeerVital, Vitals, VitalsMeter, WatchedVital};
