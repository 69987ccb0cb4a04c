//! Which lines go first when a peer cannot even be told of all that are urgent: those nearest their limit.

use arrayvec::ArrayVec;

use super::pending::LineSet;

/// Lines looked at for each that can be sent, and at least and at most in a flush. With the least, 50 flushes a second
/// come by a million lines in five seconds.
const LOOK_AT: u32 = 4;
const MIN_LOOK: u32 = 4096;
const MAX_LOOK: u32 = 65_536;
/// Lines that the store is asked of in one call, so that it can ask for some ahead.
pub(super) const LOOKED_AT_TOGETHER: usize = 512;

/// Looks at a part of the lines that wait, and chooses those whose urgency is in its top.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    /// Where the part ended that was looked at last.
    cursor: u32,
    /// The lines that were looked at, then those chosen of them, the next one last.
    lines: Vec<(u32, u8)>,
}

impl Urgent {
    /// Chooses at most `wanted` lines, when so many can be told of and more wait.
    ///
    /// `urgencies` tells of each of some lines in turn; many at once, since each is a miss of the caches.
    pub(super) fn choose(
        &mut self,
        waiting: &LineSet,
        wanted: u32,
        urgencies: impl Fn(&[u32], &mut dyn FnMut(u8)),
    ) {
        self.lines.clear();
        // The part that a flush without room would look at must not be passed over.
        if wanted == 0 || wanted >= waiting.len() {
            return;
        }
        let look = wanted.saturating_mul(LOOK_AT).clamp(MIN_LOOK, MAX_LOOK).min(waiting.len()) as usize;
        let mut histogram = [0_u32; 256];
        while self.lines.len() < look {
            let part = self.next_part(waiting, look - self.lines.len());
            let mut lines = part.iter();
            urgencies(&part, &mut |urgency| {
                histogram[usize::from(urgency)] += 1;
                self.lines.extend(lines.next().map(|line| (*line, urgency)));
            });
        }
        let (threshold, mut at_threshold) = threshold(&histogram, wanted);
        self.lines.retain(|(_, urgency)| {
            let takes = *urgency > threshold || (*urgency == threshold && at_threshold > 0);
            at_threshold -= u32::from(takes && *urgency == threshold);
            takes
        });
        self.lines.reverse();
    }

    /// The next lines that wait, at least one and at most `most`, which are no more than there are.
    fn next_part(&mut self, waiting: &LineSet, most: usize) -> ArrayVec<u32, LOOKED_AT_TOGETHER> {
        let mut part = ArrayVec::new();
        while part.len() < most.min(LOOKED_AT_TOGETHER) {
            let Some(line) = waiting.next(self.cursor).or_else(|| waiting.next(0)) else { break };
            self.cursor = line.saturating_add(1);
            part.push(line);
        }
        part
    }

    /// The next line that was chosen.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.lines.pop().map(|(line, _)| line)
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

    fn chosen(urgent: &mut Urgent) -> Vec<u32> {
        std::iter::from_fn(|| urgent.next()).collect()
    }

    #[test]
    fn the_most_urgent_go_first() {
        let mut urgent = Urgent::default();
        urgent.choose(&set(1000), 88, each(|line| if line % 10 == 3 { 200 } else { 5 }));
        let expected: Vec<u32> = (3..1000).step_by(10).take(88).collect();
        assert_eq!(chosen(&mut urgent), expected);
    }

    #[test]
    fn one_that_is_urgent_is_found_among_many_alike() {
        let mut urgent = Urgent::default();
        urgent.choose(&set(1000), 88, each(|line| if line == 777 { 200 } else { 5 }));
        let chosen = chosen(&mut urgent);
        assert_eq!(chosen.len(), 88);
        assert!(chosen.contains(&777) && chosen.contains(&0), "those alike take what is left: {chosen:?}");
    }

    #[test]
    fn a_flush_without_room_passes_nothing_over() {
        let (lines, mut urgent) = (set(100_000), Urgent::default());
        urgent.choose(&lines, 0, each(|_| 1));
        urgent.choose(&lines, 10, each(|_| 1));
        assert_eq!(urgent.next(), Some(0));
    }

    #[test]
    fn when_all_can_be_told_of_there_is_no_order() {
        let mut urgent = Urgent::default();
        urgent.choose(&set(1000), 10, each(|_| 255));
        urgent.choose(&set(100), 100, each(|_| 255));
        assert_eq!(urgent.next(), None);
    }

    #[test]
    fn each_flush_looks_at_another_part() {
        let (lines, mut urgent) = (set(100_000), Urgent::default());
        urgent.choose(&lines, 10, each(|_| 1));
        let first = chosen(&mut urgent);
        urgent.choose(&lines, 10, each(|_| 1));
        let second = chosen(&mut urgent);
        assert!(first.iter().all(|line| *line < MIN_LOOK) && second.iter().all(|line| *line >= MIN_LOOK));
    }
}
