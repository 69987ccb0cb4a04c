//! Which lines a peer is still to be told of: a bitmap of two levels, and how old its oldest bit is.
//!
//! Its memory is one bit a line and a little, however much changes and however long a peer is away.

use crate::bucket::table::ChangedLines;
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
    pub(super) fn insert(&mut self, line: u32) {
        self.insert_word(line / 64, 1 << (line % 64));
    }

    /// Adds lines of the 64 that begin at 64 times `word`, a bit each; those that do not exist are ignored.
    pub(super) fn insert_word(&mut self, word: u32, lines: u64) {
        if lines == 0 {
            // Not by way of its word, a miss of the caches.
            return;
        }
        let existing = existing(self.lines, word);
        let word = word as usize;
        let Some(known) = self.words.get(word) else { return };
        let new = lines & existing & !known;
        if new != 0 {
            self.words[word] |= new;
            self.summary[word / 64] |= 1 << (word % 64);
            self.len += count(new);
        }
    }

    pub(super) fn contains(&self, line: u32) -> bool {
        self.words.get(line as usize / 64).is_some_and(|word| word & (1 << (line % 64)) != 0)
    }

    pub(super) fn remove(&mut self, line: u32) {
        let (word, bit) = (line as usize / 64, 1 << (line % 64));
        if self.is_empty() || line >= self.lines || self.words[word] & bit == 0 {
            return;
        }
        self.words[word] &= !bit;
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
        self.len -= 1;
    }

    /// The first line of the set from `line` on.
    pub(super) fn next(&self, line: u32) -> Option<u32> {
        if self.is_empty() {
            // Not by way of the whole summary.
            return None;
        }
        let word = line as usize / 64;
        let rest = self.words.get(word)? & (u64::MAX << (line % 64));
        if rest != 0 {
            return Some(word as u32 * 64 + rest.trailing_zeros());
        }
        let word = self.next_word(word + 1)?;
        Some(word as u32 * 64 + self.words[word].trailing_zeros())
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

/// How many bits are set. Mostly it is one, which takes fewer instructions to see than to count.
const fn count(lines: u64) -> u32 {
    if lines.is_power_of_two() { 1 } else { lines.count_ones() }
}

fn fill_bits(words: &mut [u64], bits: usize) {
    words.fill(u64::MAX);
    if let (Some(last), rest @ 1..) = (words.last_mut(), bits % 64) {
        *last = (1 << rest) - 1;
    }
}

/// Most words of changed lines that wait without being filed.
const MAX_NEWS: usize = 1 << 15;

/// What has changed since the last flush: most of it is told of in the next, and need not be filed before.
#[derive(Debug)]
struct News {
    lines: u32,
    words: Vec<ChangedLines>,
    /// The word after the one that lines are taken of.
    next: usize,
    /// The lines that are left of that one.
    rest: ChangedLines,
    len: u32,
    oldest: MonotonicNs,
}

impl News {
    fn new(lines: u32) -> Self {
        let most = (lines.div_ceil(64) as usize).min(MAX_NEWS);
        let (words, rest) = (Vec::with_capacity(most), ChangedLines::default());
        Self { lines, words, next: 0, rest, len: 0, oldest: NEVER }
    }

    /// Adds those for which there is room, and returns the others.
    fn add<'c>(&mut self, changed: &'c [ChangedLines], changed_at: MonotonicNs) -> &'c [ChangedLines] {
        let room = self.words.capacity() - self.words.len();
        let (added, others) = changed.split_at(changed.len().min(room));
        for changed in added {
            let lines = changed.lines & existing(self.lines, changed.word);
            self.len += count(lines);
            self.words.push(ChangedLines { lines, ..*changed });
        }
        self.oldest = self.oldest.min(changed_at);
        others
    }

    /// The first word of which lines are left.
    fn first_word(&mut self) -> Option<&mut ChangedLines> {
        while self.rest.lines == 0 {
            self.rest = *self.words.get(self.next)?;
            self.next += 1;
        }
        Some(&mut self.rest)
    }

    fn take_next(&mut self) -> Option<u32> {
        let line = self.first_word()?.take_first()?;
        self.len -= 1;
        Some(line)
    }

    /// What was not taken.
    fn rest(&self) -> impl Iterator<Item = ChangedLines> {
        std::iter::once(self.rest).chain(self.words[self.next..].iter().copied())
    }

    fn contains(&self, line: u32) -> bool {
        let line = ChangedLines::of(line, false);
        self.rest().any(|changed| changed.word == line.word && changed.lines & line.lines != 0)
    }

    fn clear(&mut self) {
        self.words.clear();
        (self.next, self.rest, self.len, self.oldest) = (0, ChangedLines::default(), 0, NEVER);
    }
}

/// Lines that wait, each told of in its turn.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Those that are not in the others.
    news: News,
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
            news: News::new(lines),
            lines: LineSet::new(lines),
            cursor: 0,
            urgent: LineSet::new(lines),
            urgent_cursor: 0,
            oldest: NEVER,
            oldest_since: NEVER,
        }
    }

    /// How many lines wait; one that changed and waited already may count twice.
    pub(super) const fn len(&self) -> u32 {
        self.lines.len() + self.news.len
    }

    /// Whether a line waits.
    pub(super) fn contains(&self, line: u32) -> bool {
        self.lines.contains(line) || self.news.contains(line)
    }

    /// Those of the lines that were filed which are to be told first.
    pub(super) const fn urgent(&self) -> &LineSet {
        &self.urgent
    }

    /// No change that waits is older; `None` when none waits.
    pub(super) fn oldest(&self) -> Option<MonotonicNs> {
        let filed = if self.lines.is_empty() { NEVER } else { self.oldest.min(self.oldest_since) };
        let oldest = if self.news.len == 0 { filed } else { filed.min(self.news.oldest) };
        (oldest != NEVER).then_some(oldest)
    }

    /// Lines wait, which changed at `changed_at` or later. Where others wait already these are filed at once: there was
    /// no room for those.
    pub(super) fn insert(&mut self, changed: &[ChangedLines], changed_at: MonotonicNs) {
        let others = if self.lines.is_empty() { self.news.add(changed, changed_at) } else { changed };
        others.iter().for_each(|changed| self.file_lines(*changed, changed_at));
    }

    /// A line waits again, and goes first: it is late already.
    pub(super) fn put_back(&mut self, line: u32, changed_at: MonotonicNs) {
        self.file_lines(ChangedLines::of(line, true), changed_at);
    }

    /// Files all that waits: it has to wait on, or not for its turn.
    pub(super) fn file(&mut self) {
        let changed_at = self.news.oldest;
        while let Some(changed) = self.news.first_word().map(std::mem::take) {
            self.file_lines(changed, changed_at);
        }
        self.news.clear();
    }

    fn file_lines(&mut self, changed: ChangedLines, changed_at: MonotonicNs) {
        let ChangedLines { word, lines, urgent } = changed;
        self.oldest_since = self.oldest_since.min(changed_at);
        self.lines.insert_word(word, lines);
        self.urgent.insert_word(word, lines & urgent);
    }

    /// Takes a line that was filed out of its turn.
    pub(super) fn remove(&mut self, line: u32) {
        self.lines.remove(line);
        self.urgent.remove(line);
        if self.lines.is_empty() {
            (self.oldest, self.oldest_since) = (NEVER, NEVER);
        }
    }

    /// Takes an urgent line that was filed.
    pub(super) fn take_urgent(&mut self) -> Option<u32> {
        let line = self.urgent.next(self.urgent_cursor).or_else(|| self.urgent.next(0))?;
        self.urgent_cursor = line.saturating_add(1);
        self.remove(line);
        Some(line)
    }

    /// Takes the line whose turn it is. A round visits each line that was filed once, so none waits longer than one;
    /// then come those that were not.
    pub(super) fn take_next(&mut self) -> Option<u32> {
        if self.lines.is_empty() {
            return self.news.take_next();
        }
        let line = self.lines.next(self.cursor).or_else(|| {
            self.oldest = std::mem::replace(&mut self.oldest_since, NEVER);
            self.lines.next(0)
        })?;
        self.cursor = line.saturating_add(1);
        self.remove(line);
        Some(line)
    }
}

/// The lines that exist, of the 64 that begin at 64 times `word`.
const fn existing(lines: u32, word: u32) -> u64 {
    if word < lines / 64 {
        return u64::MAX;
    }
    if word == lines / 64 { (1 << (lines % 64)) - 1 } else { 0 }
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
        set.insert_word(0, u64::MAX << 10);
        set.insert_word(1, 1);
        set.insert_word(u32::MAX, 1);
        set.remove(11);
        assert!(set.is_empty() && set.next(9).is_none() && set.next(u32::MAX).is_none());
    }

    fn insert(backlog: &mut Backlog, line: u32, changed_at_ns: u64) {
        backlog.insert(&[ChangedLines::of(line, line % 2 == 1)], MonotonicNs(changed_at_ns));
        backlog.file();
    }

    fn take_all(backlog: &mut Backlog) -> Vec<u32> {
        std::iter::from_fn(|| backlog.take_next()).collect()
    }

    #[test]
    fn what_came_is_told_once_whether_it_was_filed_or_not() {
        let changed = [
            ChangedLines { word: 0, lines: 0b1011, urgent: 0b10 },
            ChangedLines { word: 1, lines: u64::MAX, urgent: 0 },
            ChangedLines { word: 2, lines: 1, urgent: 1 },
        ];
        for taken_before in 0..4 {
            for is_filed in [false, true] {
                let mut backlog = Backlog::new(68);
                backlog.insert(&changed, MonotonicNs(5));
                assert_eq!((backlog.len(), backlog.oldest()), (7, Some(MonotonicNs(5))), "68 lines exist");
                let mut taken: Vec<u32> = (0..taken_before).filter_map(|_| backlog.take_next()).collect();
                if is_filed {
                    backlog.file();
                    assert_eq!(backlog.urgent().len(), u32::from(taken_before < 2));
                }
                let waits = |line: u32| backlog.contains(line);
                assert!(taken.iter().all(|line| !waits(*line)) && waits(64) && waits(67) && !waits(68));
                assert_eq!(
                    (backlog.len() as usize, backlog.oldest()),
                    (7 - taken.len(), Some(MonotonicNs(5)))
                );
                taken.extend(take_all(&mut backlog));
                assert_eq!(taken, [0, 1, 3, 64, 65, 66, 67]);
                assert_eq!((backlog.len(), backlog.oldest()), (0, None));
            }
        }
    }

    #[test]
    fn what_waits_again_goes_before_what_came_and_what_came_then_is_filed() {
        let mut backlog = Backlog::new(100);
        backlog.insert(&[ChangedLines::of(1, false)], MonotonicNs(7));
        backlog.put_back(90, MonotonicNs(3));
        assert_eq!((backlog.len(), backlog.oldest()), (2, Some(MonotonicNs(3))));
        backlog.insert(&[ChangedLines::of(2, true)], MonotonicNs(8));
        assert_eq!(backlog.urgent().len(), 2);
        assert_eq!(backlog.take_urgent(), Some(2));
        assert_eq!(take_all(&mut backlog), [90, 1]);
    }

    #[test]
    fn more_words_than_there_is_room_for_are_filed() {
        let lines = (MAX_NEWS as u32 + 2) * 64;
        let mut backlog = Backlog::new(lines);
        let words = 0..MAX_NEWS as u32 + 2;
        let changed: Vec<_> = words.map(|word| ChangedLines { word, lines: 1, urgent: 0 }).collect();
        backlog.insert(&changed, MonotonicNs(1));
        assert_eq!(backlog.len() as usize, changed.len());
        let mut taken = take_all(&mut backlog);
        taken.sort_unstable();
        assert_eq!(taken, changed.iter().map(|changed| changed.word * 64).collect::<Vec<_>>());
    }

    #[test]
    fn urgent_lines_are_taken_once_and_before_their_turn() {
        let mut backlog = Backlog::new(100);
        (0..6).for_each(|line| insert(&mut backlog, line, 1));
        assert_eq!((backlog.take_next(), backlog.take_next()), (Some(0), Some(1)));
        assert_eq!(
            (backlog.take_urgent(), backlog.take_urgent(), backlog.take_urgent()),
            (Some(3), Some(5), None)
        );
        insert(&mut backlog, 1, 2);
        assert_eq!(backlog.take_urgent(), Some(1), "the walk begins anew");
        assert_eq!((backlog.take_next(), backlog.take_next(), backlog.take_next()), (Some(2), Some(4), None));
        assert_eq!(backlog.oldest(), None);
    }

    #[test]
    fn the_oldest_change_is_known_until_it_was_taken() {
        let mut backlog = Backlog::new(100);
        assert_eq!(backlog.oldest(), None);
        insert(&mut backlog, 50, 10);
        insert(&mut backlog, 60, 20);
        assert_eq!(backlog.take_next(), Some(50));
        insert(&mut backlog, 40, 30);
        assert!(backlog.oldest() <= Some(MonotonicNs(20)));
        assert_eq!(backlog.take_next(), Some(60));
        insert(&mut backlog, 50, 40);
        assert_eq!(backlog.take_next(), Some(40));
        insert(&mut backlog, 30, 50);
        assert_eq!(backlog.take_next(), Some(50));
        insert(&mut backlog, 20, 60);
        assert_eq!(backlog.take_next(), Some(20), "a second round");
        assert!(backlog.oldest() > Some(MonotonicNs(20)), "what was taken in the first is not the oldest");
        assert_eq!(backlog.take_next(), Some(30));
        assert_eq!((backlog.oldest(), backlog.take_next()), (None, None));
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..9000), 0..300),
            words in proptest::collection::vec((0_u32..150, any::<u64>()), 0..5),
            from in 0_u32..9000,
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
            for (word, lines) in words {
                set.insert_word(word, lines);
                model.extend((0..64).filter(|bit| lines >> bit & 1 == 1).map(|bit| word * 64 + bit));
                model.retain(|line| *line < 9000);
            }
            prop_assert_eq!(set.len() as usize, model.len());
            prop_assert_eq!(set.next(from), model.range(from..).next().copied());
        }

        #[test]
        fn a_round_takes_each_line_once(
            lines in proptest::collection::btree_set(0_u32..500, 0..100),
            begin in 0_u32..500,
        ) {
            let mut backlog = Backlog::new(500);
            backlog.cursor = begin;
            lines.iter().for_each(|line| insert(&mut backlog, *line, 1));
            let mut taken = vec![];
            while let Some(line) = backlog.take_next() { taken.push(line); }
            taken.sort_unstable();
            prop_assert_eq!(taken, lines.into_iter().collect::<Vec<_>>());
        }
    }
}
