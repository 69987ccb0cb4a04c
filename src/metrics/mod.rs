//! What the server tells about itself: counters and histograms that each data thread writes alone
//! ([`core`]), added up and rendered only when somebody asks.

pub mod core;
