//! Which lines a peer is still to be told of: a bitmap of two levels, and how old its oldest bit is.
//!
//! Its memory is one bit a line and a little, however much changes and however long a peer is away.

use arrayvec::ArrayVec;

use crate::bucket::memory::prefetch;
use crate::bucket::table::Change;
use crate::time::MonotonicNs;

const NEVER: MonotonicNs = MonotonicNs(u64::MAX);

/// A set of lines.
#[derive(Clone, Debug)]
pub(super) struct LineSet {
    lines: u32,
    words: Vec<u64>,
    /// A bit a word that is not zero.
    summary: Vec<u64>,
    len: u32,
}

impl LineSet {
    pub(super) fn new(lines: u32) -> Self {
        let words = lines.div_ceil(64) as usize;
        Self { lines, words: vec![0; words], summary: vec![0; words.div_ceil(64)], len: 0 }
    }

    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a line; one that does not exist is ignored.
    #[inline]
    pub(super) fn insert(&mut self, line: u32) {
        if line >= self.lines {
            return;
        }
        let (word, bit) = (line as usize / 64, 1 << (line % 64));
        let known = self.words[word];
        // All of it whether the line is new or not: which it is, no processor can foresee.
        self.words[word] = known | bit;
        self.summary[word / 64] |= 1 << (word % 64);
        self.len += u32::from(known & bit == 0);
    }

    /// Asks the cache for what is noted of a line.
    #[inline]
    fn prefetch(&self, line: u32) {
        prefetch(&self.words, line as usize / 64);
    }

    pub(super) fn contains(&self, line: u32) -> bool {
        self.words.get(line as usize / 64).is_some_and(|word| word & (1 << (line % 64)) != 0)
    }

    pub(super) fn remove(&mut self, line: u32) {
        if self.is_empty() || !self.contains(line) {
            return;
        }
        let word = line as usize / 64;
        self.len -= 1;
        self.put_word(word, self.words[word] & !(1 << (line % 64)));
    }

    /// The first line of the set from `line` on.
    pub(super) fn next(&self, line: u32) -> Option<u32> {
        let (word, lines) = self.next_lines(line)?;
        Some(word as u32 * 64 + lines.trailing_zeros())
    }

    /// Takes the lines that come after `cursor` in a round over all, until `taken` has `most`; whether the round began
    /// anew.
    pub(super) fn take_round<const N: usize>(
        &mut self,
        cursor: &mut u32,
        taken: &mut ArrayVec<u32, N>,
        most: usize,
    ) -> bool {
        let taken_before = taken.len();
        self.take_from(*cursor, taken, most);
        let begins_anew = taken.len() < most && !self.is_empty();
        if begins_anew {
            self.take_from(0, taken, most);
        }
        if let Some(last) = taken[taken_before..].last() {
            *cursor = last.saturating_add(1);
        }
        begins_anew
    }

    /// Takes the first lines from `line` on, until `taken` has `most`.
    fn take_from<const N: usize>(&mut self, line: u32, taken: &mut ArrayVec<u32, N>, most: usize) {
        let mut from = line;
        while taken.len() < most {
            let Some((word, mut lines)) = self.next_lines(from) else { return };
            let (before, taken_before) = (self.words[word] & !lines, taken.len());
            while lines != 0 && taken.len() < most {
                from = word as u32 * 64 + lines.trailing_zeros();
                taken.push(from);
                lines &= lines - 1;
            }
            self.len -= (taken.len() - taken_before) as u32;
            self.put_word(word, before | lines);
        }
    }

    /// The first word that has a line from `line` on, and those of its lines.
    fn next_lines(&self, line: u32) -> Option<(usize, u64)> {
        if self.is_empty() {
            // Not by way of the whole summary.
            return None;
        }
        let word = line as usize / 64;
        let rest = self.words.get(word)? & (u64::MAX << (line % 64));
        if rest != 0 {
            return Some((word, rest));
        }
        let word = self.next_word(word + 1)?;
        Some((word, self.words[word]))
    }

    /// The first word from `word` on that is not zero.
    fn next_word(&self, word: usize) -> Option<usize> {
        let mut group = word / 64;
        let mut rest = self.summary.get(group)? & (u64::MAX << (word % 64));
        while rest == 0 {
            group += 1;
            rest = *self.summary.get(group)?;
        }
        Some(group * 64 + rest.trailing_zeros() as usize)
    }

    /// Leaves `lines` of a word.
    fn put_word(&mut self, word: usize, lines: u64) {
        self.words[word] = lines;
        if lines == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
    }

    /// Adds all lines there are.
    pub(super) fn fill(&mut self) {
        fill_bits(&mut self.words, self.lines as usize);
        fill_bits(&mut self.summary, self.words.len());
        self.len = self.lines;
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.summary.fill(0);
        self.len = 0;
    }
}

fn fill_bits(words: &mut [u64], bits: usize) {
    words.fill(u64::MAX);
    if let (Some(last), rest @ 1..) = (words.last_mut(), bits % 64) {
        *last = (1 << rest) - 1;
    }
}

/// Lines that wait, each told of in its turn.
#[derive(Debug)]
pub(super) struct Backlog {
    lines: LineSet,
    cursor: u32,
    /// Those of them that should be told first.
    urgent: LineSet,
    urgent_cursor: u32,
    /// The oldest change among lines that waited when this round began.
    oldest: MonotonicNs,
    /// The oldest change among lines that came since.
    oldest_since: MonotonicNs,
}

impl Backlog {
    pub(super) fn new(lines: u32) -> Self {
        Self {
            lines: LineSet::new(lines),
            cursor: 0,
            urgent: LineSet::new(lines),
            urgent_cursor: 0,
            oldest: NEVER,
            oldest_since: NEVER,
        }
    }

    /// How many lines wait.
    pub(super) const fn len(&self) -> u32 {
        self.lines.len()
    }

    /// Whether a line waits.
    pub(super) fn contains(&self, line: u32) -> bool {
        self.lines.contains(line)
    }

    /// Those that are to be told first.
    pub(super) const fn urgent(&self) -> &LineSet {
        &self.urgent
    }

    /// No change that waits is older; `None` when none waits.
    pub(super) fn oldest(&self) -> Option<MonotonicNs> {
        (!self.lines.is_empty()).then(|| self.oldest.min(self.oldest_since))
    }

    /// Lines wait, which changed at `changed_at` or later.
    pub(super) fn insert(&mut self, changed: &[Change], changed_at: MonotonicNs) {
        self.oldest_since = self.oldest_since.min(changed_at);
        changed.iter().for_each(|change| self.lines.prefetch(change.line));
        for Change { line, is_urgent } in changed.iter().copied() {
            self.lines.insert(line);
            if is_urgent {
                self.urgent.insert(line);
            }
        }
    }

    /// A line waits again, and goes first: it is late already.
    pub(super) fn put_back(&mut self, line: u32, changed_at: MonotonicNs) {
        self.insert(&[Change { line, is_urgent: true }], changed_at);
    }

    /// Takes a line out of its turn.
    pub(super) fn remove(&mut self, line: u32) {
        self.lines.remove(line);
        self.urgent.remove(line);
        self.forget_age();
    }

    /// Takes an urgent line.
    pub(super) fn take_urgent(&mut self) -> Option<u32> {
        let line = self.urgent.next(self.urgent_cursor).or_else(|| self.urgent.next(0))?;
        self.urgent_cursor = line.saturating_add(1);
        self.remove(line);
        Some(line)
    }

    /// Takes the lines whose turn it is, until `taken` has `most`. A round visits each line once, so none waits longer
    /// than one.
    pub(super) fn take_next<const N: usize>(&mut self, taken: &mut ArrayVec<u32, N>, most: usize) {
        let taken_before = taken.len();
        if self.lines.take_round(&mut self.cursor, taken, most) {
            self.oldest = std::mem::replace(&mut self.oldest_since, NEVER);
        }
        if !self.urgent.is_empty() {
            taken[taken_before..].iter().for_each(|line| self.urgent.remove(*line));
        }
        self.forget_age();
    }

    fn forget_age(&mut self) {
        if self.lines.is_empty() {
            (self.oldest, self.oldest_since) = (NEVER, NEVER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_full_set_has_every_line_and_no_other() {
        for lines in [1, 63, 64, 65, 4096, 5000] {
            let mut set = LineSet::new(lines);
            set.fill();
            let mut found = vec![];
            while let Some(line) = set.next(found.last().map_or(0, |line| line + 1)) {
                found.push(line);
            }
            assert_eq!(found, (0..lines).collect::<Vec<_>>());
            found.iter().for_each(|line| set.remove(*line));
            assert!(set.is_empty() && set.next(0).is_none());
        }
    }

    #[test]
    fn a_line_that_does_not_exist_is_ignored() {
        let mut set = LineSet::new(10);
        set.insert(10);
        set.insert(u32::MAX);
        set.remove(11);
        assert!(set.is_empty() && set.next(9).is_none() && set.next(u32::MAX).is_none());
    }

    fn insert(backlog: &mut Backlog, line: u32, changed_at_ns: u64) {
        backlog.insert(&[Change { line, is_urgent: line % 2 == 1 }], MonotonicNs(changed_at_ns));
    }

    fn take(backlog: &mut Backlog, most: usize) -> Vec<u32> {
        let mut taken: ArrayVec<u32, 600> = ArrayVec::new();
        backlog.take_next(&mut taken, most);
        taken.to_vec()
    }

    fn take_next(backlog: &mut Backlog) -> Option<u32> {
        take(backlog, 1).pop()
    }

    #[test]
    fn what_came_twice_is_told_once_however_many_are_taken_together() {
        for together in 1..=8 {
            let mut backlog = Backlog::new(68);
            for line in [64, 3, 66, 0, 63, 3, 67, 68, 65] {
                insert(&mut backlog, line, 5);
            }
            assert_eq!((backlog.len(), backlog.oldest()), (7, Some(MonotonicNs(5))), "68 lines exist");
            let mut told = vec![];
            while backlog.len() > 0 {
                assert_eq!(backlog.oldest(), Some(MonotonicNs(5)));
                let taken = take(&mut backlog, together);
                assert!(taken.iter().all(|line| !backlog.contains(*line)) && taken.len() <= together);
                told.extend(taken);
            }
            assert_eq!(told, [0, 3, 63, 64, 65, 66, 67]);
            assert_eq!((backlog.oldest(), backlog.urgent().len()), (None, 0));
        }
    }

    #[test]
    fn what_waits_again_goes_before_what_came() {
        let mut backlog = Backlog::new(100);
        insert(&mut backlog, 2, 7);
        backlog.put_back(90, MonotonicNs(3));
        assert_eq!((backlog.len(), backlog.oldest()), (2, Some(MonotonicNs(3))));
        assert_eq!((backlog.take_urgent(), backlog.take_urgent()), (Some(90), None));
        assert_eq!(take(&mut backlog, 9), [2]);
    }

    #[test]
    fn urgent_lines_are_taken_once_and_before_their_turn() {
        let mut backlog = Backlog::new(100);
        (0..6).for_each(|line| insert(&mut backlog, line, 1));
        assert_eq!((take_next(&mut backlog), take_next(&mut backlog)), (Some(0), Some(1)));
        assert_eq!(
            (backlog.take_urgent(), backlog.take_urgent(), backlog.take_urgent()),
            (Some(3), Some(5), None)
        );
        insert(&mut backlog, 1, 2);
        assert_eq!(backlog.take_urgent(), Some(1), "the walk begins anew");
        assert_eq!(
            (take_next(&mut backlog), take_next(&mut backlog), take_next(&mut backlog)),
            (Some(2), Some(4), None)
        );
        assert_eq!(backlog.oldest(), None);
    }

    #[test]
    fn the_oldest_change_is_known_until_it_was_taken() {
        let mut backlog = Backlog::new(100);
        assert_eq!(backlog.oldest(), None);
        insert(&mut backlog, 50, 10);
        insert(&mut backlog, 60, 20);
        assert_eq!(take_next(&mut backlog), Some(50));
        insert(&mut backlog, 40, 30);
        assert!(backlog.oldest() <= Some(MonotonicNs(20)));
        assert_eq!(take_next(&mut backlog), Some(60));
        insert(&mut backlog, 50, 40);
        assert_eq!(take_next(&mut backlog), Some(40));
        insert(&mut backlog, 30, 50);
        assert_eq!(take_next(&mut backlog), Some(50));
        insert(&mut backlog, 20, 60);
        assert_eq!(take_next(&mut backlog), Some(20), "a second round");
        assert!(backlog.oldest() > Some(MonotonicNs(20)), "what was taken in the first is not the oldest");
        assert_eq!(take_next(&mut backlog), Some(30));
        assert_eq!((backlog.oldest(), take_next(&mut backlog)), (None, None));
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..9000), 0..300),
            from in 0_u32..9100,
            most in 0_usize..200,
        ) {
            let (mut set, mut model) = (LineSet::new(9000), BTreeSet::new());
            for (insert, line) in steps {
                if insert {
                    set.insert(line);
                    model.insert(line);
                } else {
                    set.remove(line);
                    model.remove(&line);
                }
            }
            prop_assert_eq!(set.len() as usize, model.len());
            prop_assert_eq!(set.next(from), model.range(from..).next().copied());
            let mut taken: ArrayVec<u32, 200> = ArrayVec::new();
            set.take_from(from, &mut taken, most);
            prop_assert!(taken.iter().eq(model.range(from..).take(most)));
            prop_assert_eq!(set.len() as usize, model.len() - taken.len());
            prop_assert_eq!(set.next(0), model.iter().find(|line| !taken.contains(line)).copied());
        }

        #[test]
        fn a_round_takes_each_line_once(
            lines in proptest::collection::btree_set(0_u32..500, 0..100),
            begin in 0_u32..500,
            together in 1_usize..50,
        ) {
            let mut backlog = Backlog::new(500);
            backlog.cursor = begin;
            lines.iter().for_each(|line| insert(&mut backlog, *line, 1));
            let mut taken = vec![];
            while backlog.len() > 0 { taken.extend(take(&mut backlog, together)); }
            prop_assert!(backlog.urgent().is_empty());
            taken.sort_unstable();
            prop_assert_eq!(taken, lines.into_iter().collect::<Vec<_>>());
        }
    }
}
