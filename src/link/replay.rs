//! Which datagrams of a peer were heard: none is heard twice, and the peer learns which (RFC 4303, 3.4.3).

use super::wire::MAX_ACK_WORDS;

/// How far behind the highest number a datagram may come.
pub(super) const WINDOW: u64 = MAX_ACK_WORDS as u64 * 64;

/// The highest number heard, and a bit for each of the 2,048 up to it.
#[derive(Clone, Debug)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// A number's bit is at the number modulo the window.
    bits: [u64; MAX_ACK_WORDS],
}

impl ReplayWindow {
    pub(super) const fn new() -> Self {
        Self { highest: 0, bits: [0; MAX_ACK_WORDS] }
    }

    /// The highest number heard; zero before the first.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `number` was not heard and is not too old to tell. Zero is no number.
    pub(super) const fn is_new(&self, number: u64) -> bool {
        if number > self.highest {
            return true;
        }
        number != 0 && self.highest - number < WINDOW && !self.has(number)
    }

    /// Notes that a new number was heard.
    pub(super) fn mark(&mut self, number: u64) {
        if number > self.highest {
            self.advance(number);
        }
        let (word, bit) = place(number);
        self.bits[word] |= bit;
    }

    fn advance(&mut self, number: u64) {
        if number - self.highest >= WINDOW {
            self.bits = [0; MAX_ACK_WORDS];
        } else {
            for passed in self.highest + 1..number {
                let (word, bit) = place(passed);
                self.bits[word] &= !bit;
            }
        }
        self.highest = number;
    }

    const fn has(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.bits[word] & bit != 0
    }

    /// Bit `b` says whether `highest - 64 word - b` was heard.
    pub(super) fn ack_word(&self, word: usize) -> u64 {
        let from = self.highest.saturating_sub(64 * word as u64);
        (0..64_u64).take_while(|back| *back < from).fold(0, |bits, back| {
            let number = from - back;
            let heard = self.highest - number < WINDOW && self.has(number);
            bits | u64::from(heard) << back
        })
    }
}

const fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_largest_number_ends_nothing() {
        let mut window = ReplayWindow::new();
        window.mark(u64::MAX);
        assert!(!window.is_new(u64::MAX) && window.is_new(u64::MAX - 1) && !window.is_new(5));
    }

    proptest! {
        #[test]
        fn no_number_is_new_twice_and_acks_tell_what_was_heard(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..3000), 1..200)
        ) {
            let (mut window, mut heard) = (ReplayWindow::new(), BTreeSet::new());
            for (ahead, step) in steps {
                let highest = window.highest();
                let number = if ahead { highest + step } else { highest.saturating_sub(step) };
                let old = number + WINDOW <= window.highest();
                prop_assert_eq!(window.is_new(number), number != 0 && !old && !heard.contains(&number));
                if window.is_new(number) {
                    window.mark(number);
                    heard.insert(number);
                }
            }
            for word in 0..MAX_ACK_WORDS {
                for bit in 0..64 {
                    let number = window.highest().checked_sub(64 * word as u64 + bit);
                    let expected = number.is_some_and(|number| heard.contains(&number));
                    prop_assert_eq!(window.ack_word(word) >> bit & 1 == 1, expected);
                }
            }
        }
    }
}
