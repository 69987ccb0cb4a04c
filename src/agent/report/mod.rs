//! The report of an incident: what people read the day after.
//!
//! Everything here but [`write()`] and [`prune()`] is pure. [`Facts`] are read off the journal's lines; they and
//! the series of before, during and after become Markdown (`markdown`) and one HTML file with plots (`html`, `plot`).
//! The same lines and series give the same bytes: nothing is taken from the clock, and the lines about the
//! report itself are left out.

mod escape;
mod facts;
mod figures;
mod html;
mod markdown;
mod plot;
mod prune;
#[cfg(test)]
mod tests;
mod write;

pub use facts::{Facts, window};
pub use prune::prune;
pub use write::{ReportError, Written, write};
