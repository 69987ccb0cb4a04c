//! Token buckets without IO or a clock: the arithmetic ([`gcra`]), what limits apply ([`policy`]) and
//! how nodes share them ([`sharing`]), which bucket a key has ([`hash`]), and where buckets live
//! ([`table`]), also after the process ([`mod@kept`]).

mod absent;
mod changes;
mod charge;
pub mod gcra;
pub mod hash;
mod identity;
pub mod kept;
mod limits;
mod line;
mod memory;
pub mod named;
pub(crate) mod notes;
mod overrides;
pub mod policy;
pub mod sharing;
mod spec;
mod sync;
pub mod table;
mod tags;
mod words;

#[cfg(all(test, not(loom)))]
mod table_tests;

#[cfg(all(test, loom))]
mod loom_tests;
