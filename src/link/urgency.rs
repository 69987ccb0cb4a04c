//! Which lines go first when a peer cannot be told of all that changed: those nearest their limit.

use super::pending::LineSet;

/// Lines looked at for each that can be sent, and at least and at most in a flush.
const LOOK_AT: u32 = 4;
const MIN_LOOK: u32 = 1024;
const MAX_LOOK: u32 = 65_536;

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
    after: u32,
}

impl UrgentWalk {
    /// Plans a flush in which `affordable` lines can be told of.
    pub(super) fn plan(&mut self, lines: &LineSet, affordable: u32, mut urgency: impl FnMut(u32) -> u8) {
        self.quota = 0;
        if affordable >= lines.len() {
            return;
        }
        self.cursor = self.after;
        self.look = affordable.saturating_mul(LOOK_AT).clamp(MIN_LOOK, MAX_LOOK).min(lines.len());
        self.quota = affordable - affordable / 8;
        let mut histogram = [0_u32; 256];
        for _ in 0..self.look {
            let Some(line) = lines.next(self.after).or_else(|| lines.next(0)) else { break };
            histogram[usize::from(urgency(line))] += 1;
            self.after = line.saturating_add(1);
        }
        self.threshold = threshold(&histogram, self.quota);
    }

    /// The next line that is urgent; `None` when the others' turn has come.
    pub(super) fn next(&mut self, lines: &LineSet, mut urgency: impl FnMut(u32) -> u8) -> Option<u32> {
        while self.quota > 0 && self.look > 0 {
            let line = lines.next(self.cursor).or_else(|| lines.next(0))?;
            self.cursor = line.saturating_add(1);
            self.look -= 1;
            if urgency(line) >= self.threshold {
                self.quota -= 1;
                return Some(line);
            }
        }
        None
    }
}

/// The highest urgency that at least `wanted` lines reach.
fn threshold(histogram: &[u32; 256], wanted: u32) -> u8 {
    let mut reached = 0;
    let at = (0..=u8::MAX).rev().find(|urgency| {
        reached += histogram[usize::from(*urgency)];
        reached >= wanted
    });
    at.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(lines: u32) -> LineSet {
        let mut set = LineSet::new(lines);
        set.fill();
        set
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
        urgent.plan(&lines, 100, urgency);
        let taken = walk(&mut urgent, &mut lines, urgency);
        assert_eq!(taken.len(), 88);
        assert!(taken.iter().all(|line| line % 10 == 3));
    }

    #[test]
    fn when_all_can_be_told_of_there_is_no_order() {
        let (mut lines, mut urgent) = (set(100), UrgentWalk::default());
        urgent.plan(&lines, 100, |_| 255);
        assert!(walk(&mut urgent, &mut lines, |_| 255).is_empty());
    }

    #[test]
    fn each_flush_looks_at_another_part() {
        let (mut lines, mut urgent) = (set(10_000), UrgentWalk::default());
        urgent.plan(&lines, 10, |_| 1);
        let first = walk(&mut urgent, &mut lines, |_| 1);
        urgent.plan(&lines, 10, |_| 1);
        let second = walk(&mut urgent, &mut lines, |_| 1);
        assert!(first.iter().all(|line| *line < 1024) && second.iter().all(|line| *line >= 1024));
    }
}
