//! Token buckets without IO or a clock: the arithmetic ([`gcra`]), what limits apply ([`policy`]),
//! which bucket a key has ([`hash`]), and where buckets live ([`table`]).

pub mod gcra;
