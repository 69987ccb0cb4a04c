//! Token buckets without IO or a clock: the arithmetic ([`gcra`]), what limits apply ([`policy`]),
//! which bucket a key has ([`hash`]), and where buckets live ([`table`]).

pub mod gcra;
pub mod hash;
mod line;
mod memory;
pub mod policy;
mod sync;
pub mod table;

#[cfg(all(test, not(loom)))]
mod table_tests;

#[cfg(all(test, loom))]
mod loom_tests;
