//! From requests to buckets to answers.
//!
//! [`CoreService`] is what a data thread runs. It takes the requests that arrived together, finds the
//! bucket of each (`route`), has all their cache lines fetched, decides them in order, and renders
//! the answers (`render`). What is no single check (batches, health, errors) is answered one by one.

mod batch;
mod check;
mod json;
mod problem;
mod render;
mod route;
mod service;

pub use service::{CoreService, ServiceParts};

#[cfg(test)]
mod tests;
