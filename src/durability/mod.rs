//! What outlives the process: buckets in a snapshot, and the epoch that counts continue from.
//!
//! [`mod@format`] is pure: records to bytes and back, whole or refused. [`Directory`] replaces files so
//! that a crash leaves the old one or the new one. [`Keeper`] is the thread that does it in time; the
//! data threads never wait for it.

mod age;
mod directory;
mod epoch;
pub mod format;
mod keeper;
mod lock;
mod start;
mod store;

pub use age::HostTime;
pub use directory::{Directory, DirectoryError};
pub use epoch::{EPOCH_LEASE, Epoch};
pub use keeper::{Keeper, KeeperParts, Kept, restore, restore_kept};
pub use start::{Found, key_print};
pub use store::Store;
