//! What the agent saw, decided and was about to do, on the disk before it is done.
//!
//! Append-only JSON lines in numbered files, chained by SHA-256. [`mod@format`] is pure: one line to bytes
//! and back, and whether it follows the one before. [`Journal`] appends and holds the lock; [`Reader`] reads
//! without it. Old files are dropped, but never what a restarted agent must know: `needed` says what that is.
//!
//! A chain shows that lines were changed, taken out or put in. That lines are missing at its *end* is shown
//! by the file `head`, which names the last durable line; that they are missing at its *beginning*, by a line of the
//! chain, which says before each rotation what is dropped.

mod error;
mod file;
pub mod format;
mod head;
mod names;
mod needed;
mod reader;
#[cfg(test)]
mod tests;
mod words;

pub use error::{Broken, Fault, JournalError, ReadError};
pub use file::{Journal, Options, TornTail};
pub use format::{Line, Logged};
pub use reader::{Checked, Place, Reader, check};
pub use words::{json_of, printable, printable_within, utc, words_of};
pub(crate) use words::{phase_name, record_words};
