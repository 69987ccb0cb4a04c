//! Token buckets without IO or a clock: the arithmetic ([`gcra`]), what limits apply ([`policy`]) and
//! how nodes share them ([`sharing`]), which bucket a key has ([`hash`]), and where buckets live
//! ([`table`]), also after the process ([`mod@kept`]).

pub(crate) mod absent;
mod change_log;
mod changes;
mod charge;
pub mod gcra;
pub mod hash;
mod identity;
pub mod kept;
mod limits;
mod line;
pub(crate) mod memory;
mod meta;
pub mod named;
pub(crate) mod notes;
mod overrides;
mod phantom;
mod places;
pub mod policy;
pub mod sharing;
mod slot_sums;
mod spec;
mod sync;
pub mod table;
mod tags;

#[cfg(all(test, not(loom)))]
mod table_tests;

#[cfg(all(test, loom))]
mod loom_tests;
