//! What people on the host ask a running server: HTTP on a Unix socket of its own.
//!
//! Apart from the data port, so that who may ask is a matter of file permissions and no client reaches
//! it. `route` is pure; a [`Desk`] answers; `server` has the threads, few and bounded; `client` is the
//! other end, for the command line.

mod answer;
pub mod bucket;
pub mod client;
mod inspector;
mod route;
mod server;

pub use answer::Refusal;
pub use inspector::{Inspector, InspectorParts};
pub use server::{AdminError, AdminServer};

use bucket::BucketReport;

/// Who knows the answers.
pub trait Desk: Send + Sync {
    /// All that is known of one bucket.
    ///
    /// # Errors
    /// When there is no such policy, or who knows does not answer in time.
    fn bucket(&self, policy: &[u8], key: &[u8]) -> Result<BucketReport, Refusal>;
}
