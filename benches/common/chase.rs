//! The yardstick of memory: one dependent cache miss after another.

use openclaw_rating::memory::Pages;

use super::keys::Random;

const LINE_BYTES: usize = 64;

/// One cycle through all lines of a region, in random order, on huge pages as the table is.
#[derive(Debug)]
pub(crate) struct Chase {
    pages: Pages,
    at: usize,
}

impl Chase {
    /// A cycle through `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        let lines = bytes / LINE_BYTES;
        let mut next: Vec<u32> = (0..u32::try_from(lines).unwrap()).collect();
        let mut random = Random::new(1);
        // Sattolo's shuffle makes one cycle of all.
        for i in (1..lines).rev() {
            next.swap(i, random.below(i));
        }
        let mut pages = Pages::new(bytes, true).unwrap();
        for (line, next) in pages.bytes_mut().chunks_exact_mut(LINE_BYTES).zip(next) {
            line[..4].copy_from_slice(&next.to_ne_bytes());
        }
        Self { pages, at: 0 }
    }

    /// Follows `steps` links; each address is known only when the one before has been read.
    pub(crate) fn follow(&mut self, steps: usize) -> usize {
        let bytes = self.pages.bytes();
        for _ in 0..steps {
            let line = &bytes[self.at * LINE_BYTES..][..4];
            self.at = u32::from_ne_bytes([line[0], line[1], line[2], line[3]]) as usize;
        }
        self.at
    }
}
