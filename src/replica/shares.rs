//! What each node uses of a policy's limit, as observed.
//!
//! An exponentially weighted sum of the tokens by node. Shares are taken from a sum that was set aside some time
//! ago: the last moments before a cut is noticed are silent, and must not count as idleness.

use super::MAX_NODES;

/// Consumption loses 1 - 1/e of its weight in this time.
const TIME_CONSTANT_S: f64 = 5.0;
/// This part of the whole is spread evenly, so that a node that used nothing before a cut has a share too.
const EVEN_PART: f64 = 0.1;
/// With fewer tokens than this there is nothing to go by, and shares are even.
const LEAST_TOKENS: f64 = 1.0;

/// Tokens by node: this one first, then peers by their column.
type ByNode = [f64; MAX_NODES];

/// What was observed of one policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    recent: ByNode,
    previous: ByNode,
    older: ByNode,
}

impl Observed {
    pub(super) fn add(&mut self, node: usize, tokens: u64) {
        self.recent[node] += tokens as f64;
    }

    #[cfg(test)]
    pub(super) const fn recent_tokens(&self, node: usize) -> f64 {
        self.recent[node]
    }

    /// Lets `seconds` pass.
    pub(super) fn decay(&mut self, seconds: f64) {
        let kept = (-seconds / TIME_CONSTANT_S).exp();
        self.recent.iter_mut().for_each(|tokens| *tokens *= kept);
    }

    /// Sets the sum of now aside; shares are of the one set aside the time before.
    pub(super) fn rotate(&mut self) {
        self.older = self.previous;
        self.previous = self.recent;
    }

    /// The part of the whole that each of `nodes` uses.
    pub(super) fn shares(&self, nodes: usize) -> ByNode {
        let total: f64 = self.older[..nodes].iter().sum();
        let even = 1.0 / nodes as f64;
        let mut shares = even_shares(nodes);
        if total >= LEAST_TOKENS {
            let observed = shares.iter_mut().zip(&self.older).take(nodes);
            observed.for_each(|(share, tokens)| {
                *share = EVEN_PART * even + (1.0 - EVEN_PART) * tokens / total;
            });
        }
        shares
    }
}

/// The same part for each of `nodes`.
pub(super) fn even_shares(nodes: usize) -> ByNode {
    let mut shares = [0.0; MAX_NODES];
    shares[..nodes].fill(1.0 / nodes as f64);
    shares
}

/// What a charge also charges for the `absent` nodes (a bit each), in 1/65536 of the charge.
pub(super) fn factor(shares: &ByNode, absent: u16) -> u32 {
    let is_absent = |node: usize| absent & (1 << node) != 0;
    let sum = |wanted: bool| -> f64 {
        shares.iter().enumerate().filter(|(node, _)| is_absent(*node) == wanted).map(|(_, share)| share).sum()
    };
    // The even part bounds this: at most 160 charges for one, of 16 nodes.
    (sum(true) / sum(false) * 65536.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(tokens: &[u64]) -> Observed {
        let mut observed = Observed::default();
        tokens.iter().enumerate().for_each(|(node, tokens)| observed.add(node, *tokens));
        observed.rotate();
        observed.rotate();
        observed
    }

    #[test]
    fn shares_follow_what_was_used_and_keep_an_even_floor() {
        let shares = observed(&[300, 5]).shares(2);
        assert!((shares[0] + shares[1] - 1.0).abs() < 1e-9);
        assert!((shares[1] - (0.05 + 0.9 * 5.0 / 305.0)).abs() < 1e-9);
    }

    #[test]
    fn shares_are_even_while_nothing_was_observed() {
        assert_eq!(observed(&[]).shares(4), even_shares(4));
    }

    #[test]
    fn what_happened_since_the_last_rotation_but_one_does_not_count() {
        let mut observed = observed(&[100, 100]);
        observed.add(0, 1_000_000);
        observed.rotate();
        assert_eq!(observed.shares(2)[0], 0.5);
    }

    #[test]
    fn old_consumption_fades() {
        let mut observed = Observed::default();
        observed.add(0, 1000);
        observed.decay(TIME_CONSTANT_S);
        observed.add(1, 1000);
        observed.rotate();
        observed.rotate();
        let shares = observed.shares(2);
        assert!(shares[0] < 0.3 && shares[1] > 0.7, "{shares:?}");
    }

    #[test]
    fn a_charge_also_charges_the_shares_of_the_absent() {
        assert_eq!(factor(&even_shares(2), 0b10), 65536);
        assert_eq!(factor(&even_shares(4), 0b1000), 65536 / 3 + 1 - 1);
        assert_eq!(factor(&even_shares(4), 0), 0);
        assert_eq!(factor(&observed(&[0, 1000]).shares(2), 0b10), 19 * 65536);
    }
}
