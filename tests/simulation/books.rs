//! The truth about one key: what was admitted in all, and what each node can know of it.

/// A token bucket that may go into debt without bound, and the in-flight tokens between nodes.
///
/// The invariant: a node's level is at least the true level less what it has not heard. It holds by
/// induction over draining, charging and hearing; where a node may know less (it restarted, it set what had
/// drained of a charge for an absent peer against what it heard) the difference is booked as *slack*, which is
/// void as soon as the true level is zero. What stands of such a charge needs none: the node's level is too high by
/// as much. A node that starts knows nothing, until it takes over a level: from then on it knows as much as the
/// sender of that level did, and what was used since. So at each admission the true level is at most the burst,
/// what is in flight, and the slack.
///
/// A strict policy does without hearing: its true level is at most the burst, and the parts of nodes that started
/// again.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    rate: f64,
    burst: f64,
    level: f64,
    at_s: f64,
    pub(crate) admitted: f64,
    unheard: Vec<Vec<f64>>,
    /// What each node heard of each other since it started.
    heard: Vec<Vec<f64>>,
    slack: Vec<f64>,
    is_strict: bool,
    /// Parts of a strict policy that may have been filled again by a start.
    refilled: f64,
    pub(crate) highest_excess: f64,
}

impl Books {
    pub(crate) fn new(nodes: usize, rate: f64, burst: f64, is_strict: bool) -> Self {
        let (unheard, heard) = (vec![vec![0.0; nodes]; nodes], vec![vec![0.0; nodes]; nodes]);
        let slack = vec![0.0; nodes];
        let (level, at_s, admitted, refilled, highest_excess) = (0.0, 0.0, 0.0, 0.0, 0.0);
        Self {
            rate,
            burst,
            level,
            at_s,
            admitted,
            unheard,
            heard,
            slack,
            is_strict,
            refilled,
            highest_excess,
        }
    }

    /// The limit was raised somewhere: the bound is that of the most generous node.
    pub(crate) fn allow(&mut self, rate: f64, burst: f64) {
        self.rate = self.rate.max(rate);
        self.burst = self.burst.max(burst);
    }

    pub(crate) fn drain(&mut self, now_s: f64) {
        self.level = (self.level - (now_s - self.at_s) * self.rate).max(0.0);
        self.at_s = now_s;
        if self.level == 0.0 {
            self.slack.fill(0.0);
            self.refilled = 0.0;
        }
    }

    /// Books an admission; an error says how the bound was broken.
    pub(crate) fn admit(&mut self, node: usize, cost: f64, now_s: f64) -> Result<(), String> {
        self.drain(now_s);
        self.level += cost;
        self.admitted += cost;
        self.highest_excess = self.highest_excess.max(self.level - self.burst);
        let in_flight: f64 = self.unheard[node].iter().sum();
        for other in (0..self.slack.len()).filter(|other| *other != node) {
            self.unheard[other][node] += cost;
        }
        let unknown = if self.is_strict { self.refilled } else { in_flight + self.slack[node] };
        if self.level > self.burst + unknown + 1.0 {
            return Err(format!(
                "node {node} admitted {cost} to a level of {:.2}: burst {}, {in_flight} in flight, slack \
                 {:.2}, {:.2} filled again",
                self.level, self.burst, self.slack[node], self.refilled
            ));
        }
        Ok(())
    }

    pub(crate) fn heard(&mut self, node: usize, from: usize, growth: f64, drained: f64, forgotten: f64) {
        let known = growth.min(self.unheard[node][from]);
        self.unheard[node][from] -= known;
        self.heard[node][from] += known;
        self.slack[node] += drained + forgotten;
    }

    /// A counter came without its growth being charged in full: all but what is `left` of it is known now.
    pub(crate) fn met(&mut self, node: usize, from: usize, left: f64, charged: f64) {
        let known = (self.unheard[node][from] - left).max(0.0);
        self.unheard[node][from] -= known;
        self.heard[node][from] += known;
        self.slack[node] += (known - charged).max(0.0);
    }

    /// How much more the true level can be than a node's.
    pub(crate) fn ignorance(&self, node: usize) -> f64 {
        self.slack[node] + self.unheard[node].iter().sum::<f64>()
    }

    /// A node took over the level that another had when its ignorance was `theirs`.
    ///
    /// What third nodes told it directly was charged to the level it had before, and the sender may not have
    /// heard of it.
    pub(crate) fn took_over(&mut self, node: usize, from: usize, theirs: f64) {
        let thirds = self.heard[node].iter().enumerate().filter(|(third, _)| *third != from);
        let directly: f64 = thirds.map(|(_, heard)| heard).sum();
        self.slack[node] = self.slack[node].min(theirs + directly);
    }

    /// A node is gone, and with it what it had not told.
    pub(crate) fn crashed(&mut self, node: usize) {
        for other in 0..self.slack.len() {
            self.slack[other] += std::mem::take(&mut self.unheard[other][node]);
        }
    }

    /// A node begins with nothing.
    pub(crate) fn started(&mut self, node: usize, now_s: f64) {
        self.drain(now_s);
        self.refilled += self.burst / self.slack.len() as f64;
        self.unheard[node].fill(0.0);
        self.heard[node].fill(0.0);
        self.slack[node] = self.level;
    }

    pub(crate) fn in_flight(&self) -> f64 {
        self.unheard.iter().flatten().sum()
    }
}

/// The one bucket that a cluster is to be like, under the same demand.
#[derive(Clone, Debug)]
pub(crate) struct Central {
    rate: f64,
    burst: f64,
    level: f64,
    at_s: f64,
    pub(crate) admitted: f64,
}

impl Central {
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, level: 0.0, at_s: 0.0, admitted: 0.0 }
    }

    pub(crate) fn check(&mut self, cost: f64, now_s: f64) {
        self.level = (self.level - (now_s - self.at_s) * self.rate).max(0.0);
        self.at_s = now_s;
        if self.level + cost <= self.burst + 1e-9 {
            self.level += cost;
            self.admitted += cost;
        }
    }
}
