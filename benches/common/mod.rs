//! What is measured and what stands beside it, in the same shape: a structure filled to the size
//! asked for, and a stream of keys drawn at random out of those it holds.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod chase;
pub(crate) mod governed;
pub(crate) mod keys;
pub(crate) mod ours;
pub(crate) mod process;

/// Checks of a batch, as many as a data thread decides together.
pub(crate) const BATCH: usize = 16;

/// How many keys there are: three quarters of a table's lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The power of ten it stands for.
    pub name: &'static str,
    /// Lines of the table.
    pub lines: usize,
}

impl Size {
    /// About 10^4 (past the first level of cache), 10^6 (past the last) and 10^7 keys.
    pub(crate) const ALL: [Self; 3] = [
        Self { name: "10^4", lines: 1 << 14 },
        Self { name: "10^6", lines: 1 << 20 },
        Self { name: "10^7", lines: 1 << 24 },
    ];

    /// Keys that fill the table to three quarters.
    pub(crate) const fn keys(self) -> usize {
        self.lines / 4 * 3
    }

    /// Bytes of the table.
    pub(crate) const fn bytes(self) -> usize {
        self.lines * 64
    }
}
