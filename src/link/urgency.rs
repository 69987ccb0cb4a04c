//! Which lines go first when a peer cannot be told of all that changed: those nearest their limit.

use arrayvec::ArrayVec;

use super::pending::LineSet;

/// Lines looked at for each that can be sent, and at least and at most in a flush. With the least, 50 flushes a second
/// come by a million lines in five seconds.
const LOOK_AT: u32 = 4;
const MIN_LOOK: u32 = 4096;
const MAX_LOOK: u32 = 65_536;
/// Lines that the store is asked of in one call, so that it can ask for some ahead.
pub(super) const LOOKED_AT_TOGETHER: usize = 128;

/// A walk over a part of the lines that wait, which takes those whose urgency is in its top.
///
/// An eighth of what can be sent is left to lines in their turn, so that none waits for ever.
#[derive(Debug, Default)]
pub(super) struct UrgentWalk {
    /// Where the part began that was looked at last.
    cursor: u32,
    look: u32,
    quota: u32,
    threshold: u8,
    /// How many of the quota are for lines right at the threshold: what those above it leave.
    at_threshold: u32,
    after: u32,
}

impl UrgentWalk {
    /// Plans a flush in which `affordable` lines can be told of.
    ///
    /// `urgencies` tells of each of some lines in turn; many at once, since each is a miss of the caches.
    pub(super) fn plan(
        &mut self,
        lines: &LineSet,
        affordable: u32,
        urgencies: impl Fn(&[u32], &mut dyn FnMut(u8)),
    ) {
        self.quota = 0;
        // The part that a flush without room would look at must not be passed over.
        if affordable == 0 || affordable >= lines.len() {
            return;
        }
        self.cursor = self.after;
        self.look = affordable.saturating_mul(LOOK_AT).clamp(MIN_LOOK, MAX_LOOK).min(lines.len());
        self.quota = affordable - affordable / 8;
        let mut histogram = [0_u32; 256];
        let mut left = self.look as usize;
        while left > 0 {
            let part = self.look_at(lines, left);
            urgencies(&part, &mut |urgency| histogram[usize::from(urgency)] += 1);
            left -= part.len();
        }
        (self.threshold, self.at_threshold) = threshold(&histogram, self.quota);
    }

    /// The next lines of the part, at least one and at most `most`, which are no more than there are.
    fn look_at(&mut self, lines: &LineSet, most: usize) -> ArrayVec<u32, LOOKED_AT_TOGETHER> {
        let mut part = ArrayVec::new();
        while part.len() < most.min(LOOKED_AT_TOGETHER) {
            let Some(line) = lines.next(self.after).or_else(|| lines.next(0)) else { break };
            self.after = line.saturating_add(1);
            part.push(line);
        }
        part
    }

    /// The next line that is urgent; `None` when the others' turn has come.
    pub(super) fn next(&mut self, lines: &LineSet, urgency: impl Fn(u32) -> u8) -> Option<u32> {
        while self.quota > 0 && self.look > 0 {
            let line = lines.next(self.cursor).or_else(|| lines.next(0))?;
            self.cursor = line.saturating_add(1);
            self.look -= 1;
            if self.takes(urgency(line)) {
                self.quota -= 1;
                return Some(line);
            }
        }
        None
    }

    const fn takes(&mut self, urgency: u8) -> bool {
        if urgency == self.threshold && self.at_threshold > 0 {
            self.at_threshold -= 1;
            return true;
        }
        urgency > self.threshold
    }
}

/// The highest urgency that at least `wanted` lines reach, and how many of these are left for lines right at it.
fn threshold(histogram: &[u32; 256], wanted: u32) -> (u8, u32) {
    let mut left = wanted;
    for urgency in (1..=u8::MAX).rev() {
        let lines = histogram[usize::from(urgency)];
        if lines >= left {
            return (urgency, left);
        }
        left -= lines;
    }
    (0, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: u32) -> LineSet {
        let mut set = LineSet::new(lines);
        set.fill();
        set
    }

    fn each(urgency: impl Fn(u32) -> u8) -> impl Fn(&[u32], &mut dyn FnMut(u8)) {
        move |lines, tell| lines.iter().for_each(|line| tell(urgency(*line)))
    }

    fn walk(walk: &mut UrgentWalk, lines: &mut LineSet, urgency: impl Fn(u32) -> u8) -> Vec<u32> {
        let mut taken = vec![];
        while let Some(line) = walk.next(lines, &urgency) {
            lines.remove(line);
            taken.push(line);
        }
        taken
    }

    #[test]
    fn the_most_urgent_go_first_and_leave_room_for_others() {
        let (mut lines, mut urgent) = (set(1000), UrgentWalk::default());
        let urgency = |line: u32| if line % 10 == 3 { 200 } else { 5 };
        urgent.plan(&lines, 100, each(urgency));
        let taken = walk(&mut urgent, &mut lines, urgency);
        assert_eq!(taken.len(), 88);
        assert!(taken.iter().all(|line| line % 10 == 3));
    }

    #[test]
    fn one_that_is_urgent_is_found_among_many_alike() {
        let (mut lines, mut urgent) = (set(1000), UrgentWalk::default());
        let urgency = |line: u32| if line == 777 { 200 } else { 5 };
        urgent.plan(&lines, 100, each(urgency));
        let taken = walk(&mut urgent, &mut lines, urgency);
        assert_eq!(taken.len(), 88);
        assert!(taken.contains(&777) && taken.contains(&0), "those alike take what is left: {taken:?}");
    }

    #[test]
    fn a_flush_without_room_passes_nothing_over() {
        let (lines, mut urgent) = (set(100_000), UrgentWalk::default());
        urgent.plan(&lines, 0, each(|_| 1));
        urgent.plan(&lines, 10, each(|_| 1));
        assert_eq!(urgent.next(&lines, |_| 1), Some(0));
    }

    #[test]
    fn when_all_can_be_told_of_there_is_no_order() {
        let (mut lines, mut urgent) = (set(100), UrgentWalk::default());
        urgent.plan(&lines, 100, each(|_| 255));
        assert!(walk(&mut urgent, &mut lines, |_| 255).is_empty());
    }

    #[test]
    fn each_flush_looks_at_another_part() {
        let (mut lines, mut urgent) = (set(100_000), UrgentWalk::default());
        urgent.plan(&lines, 10, each(|_| 1));
        let first = walk(&mut urgent, &mut lines, |_| 1);
        urgent.plan(&lines, 10, each(|_| 1));
        let second = walk(&mut urgent, &mut lines, |_| 1);
        assert!(first.iter().all(|line| *line < MIN_LOOK) && second.iter().all(|line| *line >= MIN_LOOK));
    }
}
