//! The region in a Helm values file of a git checkout, for Argo CD or Flux to follow.
//!
//! `values` changes one scalar of the text and nothing else; `checkout` does so in a file, commits it
//! and pushes it when asked to.

mod checkout;
mod values;

pub use checkout::{Checkout, Committed, GitError, Push};
pub use values::{ValuesError, get_value, set_value};
