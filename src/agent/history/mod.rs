//! The last two hours, second by second: what a report shows of before, during and after.
//!
//! [`History`] is a ring of fixed memory, filled by whoever watches; time comes in. [`Series`] is what comes
//! out, here or from Prometheus' HTTP API ([`Prometheus`]). A second of which nothing is known is a gap, not
//! a zero.

mod prometheus;
mod ring;
mod series;

pub use prometheus::{Prometheus, Queries, QueryError};
pub use ring::{History, Sample, Subjects, SubjectsError};
pub use series::{Measure, Point, Series};
