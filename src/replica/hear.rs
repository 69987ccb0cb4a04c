//! What an entry of a peer does to a bucket.

use super::node::Replica;
use super::rule::{self, News};
use super::{Applied, Arrival, Delivery, Entry};
use crate::bucket::gcra::{self, FIXED_BITS};
use crate::bucket::notes::LineNotes;
use crate::bucket::policy::Limits;
use crate::bucket::sharing::Consistency;
use crate::bucket::table::{BucketTable, Heard};
use crate::time::MonotonicNs;

/// What is the same for all entries of a delivery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    column: usize,
    /// Its levels are taken over rather than charged for.
    adopts: bool,
    /// It was absent: what was charged for it meanwhile counts as heard.
    returns: bool,
    /// How many peers there are, and how long their absence goes unnoticed: both bound the debt.
    peers: u64,
    detect_ns: u64,
    now: MonotonicNs,
}

/// One entry that is being merged into the table.
///
/// The table asks for the next `tat` again whenever a data thread changed the line first. What was taken of the
/// phantom is kept in `covered`, so that it is taken once.
struct Hearing<'a> {
    table: &'a BucketTable,
    entry: &'a Entry,
    heard: &'a LineNotes,
    strict: bool,
    sender: &'a Sender,
    covered: Option<u64>,
    /// What was charged for absent peers, and the level that this is to be noted with.
    noted: Option<(u64, u64)>,
    forgotten: u64,
    applied: Applied,
    highest: u64,
}

impl Hearing<'_> {
    /// The `tat` that the line gets.
    fn next(&mut self, line: usize, heard: Heard, limits: &Limits) -> u64 {
        let before = heard.known.then(|| self.heard.get(line)).filter(|count| *count > 0);
        self.highest = before.unwrap_or(0).max(self.entry.count);
        self.noted = None;
        let news = rule::news(before, self.entry);
        self.applied = self.named(news);
        if self.strict {
            return heard.tat;
        }
        match self.applied {
            Applied::Charged(growth) => {
                let charged = self.charged(line, growth, &heard, limits);
                let tat = self.raised(heard.tat, charged, limits);
                // What the bound on debt cut off is not in the level, so it must not be given back later.
                if let Some((for_absent, _)) = &mut self.noted {
                    *for_absent = for_absent.saturating_sub(to_fixed(self.forgotten));
                }
                tat
            }
            Applied::FirstContact(_) | Applied::Adopted => self.met(line, &heard, limits),
            _ => heard.tat,
        }
    }

    /// The `tat` after the first that is heard of the sender for this bucket.
    fn met(&mut self, line: usize, heard: &Heard, limits: &Limits) -> u64 {
        let level = level(heard, limits, self.sender.now);
        let adopted = self.adopted(level, heard);
        let adopted_tat = limits.clock().at(self.sender.now) + limits.clock().from_fixed(adopted);
        if self.applied == Applied::Adopted {
            // The sender's level has nothing in it of what was charged here for those that are absent.
            self.noted = Some((0, level.saturating_sub(adopted)));
            return heard.tat.max(adopted_tat);
        }
        self.noted = Some((0, level));
        let covered = self.covered(line, self.undrained(), level);
        let tat = self.raised(heard.tat, self.undrained().saturating_sub(covered), limits);
        if self.sender.adopts { tat.max(adopted_tat) } else { tat }
    }

    /// How much of `fixed` was charged already while the sender could not be heard.
    ///
    /// What of that has drained here since was for use so old that it has drained at the sender as well, so it covers
    /// no more than what is not in the sender's level. What has not drained covers any use.
    fn covered(&mut self, line: usize, fixed: u64, level: u64) -> u64 {
        if !self.sender.returns {
            return 0;
        }
        if let Some(covered) = self.covered {
            return covered;
        }
        *self.covered.insert(self.table.cover(line, fixed, self.entry.level, level))
    }

    /// The sender's level, and what this node used since its start and has not drained, which is not in it yet.
    fn adopted(&self, level: u64, heard: &Heard) -> u64 {
        self.entry.level.saturating_add(level.min(to_fixed(heard.used)))
    }

    /// Whether all that the sender ever used of the bucket is still in its level. Use so recent is taken for new: a
    /// snapshot of this node's earlier life does not have it.
    fn is_fresh(&self) -> bool {
        to_fixed(self.entry.used) <= self.entry.level
    }

    fn named(&self, news: News) -> Applied {
        match news {
            News::Growth(growth) => Applied::Charged(growth),
            // On first contact only: nodes that took over each other's levels for ever would never drain.
            News::First if self.sender.adopts && !self.is_fresh() => Applied::Adopted,
            News::First => Applied::FirstContact(self.undrained().div_ceil(1 << FIXED_BITS)),
            News::Old => Applied::Known,
        }
    }

    /// What the sender used and has not drained, at most.
    fn undrained(&self) -> u64 {
        to_fixed(self.entry.used).min(self.entry.level)
    }

    /// What is to be charged for `growth`: less what was charged already, plus the shares of absent peers.
    fn charged(&mut self, line: usize, growth: u64, heard: &Heard, limits: &Limits) -> u64 {
        let (fixed, level) = (to_fixed(growth), level(heard, limits, self.sender.now));
        if self.sender.returns {
            return fixed.saturating_sub(self.covered(line, fixed, level));
        }
        let for_absent = self.table.absent(limits).fixed(growth);
        self.noted = Some((for_absent, level));
        fixed.saturating_add(for_absent)
    }

    /// `tat` raised by a charge, up to the bound on debt.
    fn raised(&mut self, tat: u64, fixed: u64, limits: &Limits) -> u64 {
        let clock = limits.clock();
        let now = clock.at(self.sender.now);
        let wanted = tat.max(now).saturating_add(clock.from_fixed(fixed));
        self.forgotten = 0;
        if wanted <= now + limits.burst_ticks() {
            return wanted;
        }
        let a_peer = limits.burst_ticks().saturating_add(clock.ticks_in(self.sender.detect_ns));
        let debt = a_peer.saturating_mul(self.sender.peers);
        let highest = now + limits.burst_ticks().saturating_add(debt).min(gcra::MAX_LEVEL_TICKS);
        self.forgotten = clock.to_fixed(wanted.saturating_sub(highest.max(tat))).div_ceil(1 << FIXED_BITS);
        wanted.min(highest).max(tat)
    }
}

/// A bucket's level in 1/65536 of a token.
fn level(heard: &Heard, limits: &Limits, now: MonotonicNs) -> u64 {
    limits.clock().to_fixed(gcra::level(heard.tat, limits.clock().at(now)))
}

const fn to_fixed(tokens: u64) -> u64 {
    tokens.saturating_mul(1 << FIXED_BITS)
}

impl Replica {
    /// Who sent a delivery, as merging sees it; `None` for a node that is no peer.
    pub(super) fn sender(&self, delivery: Delivery) -> Option<Sender> {
        let Delivery { from, arrival, now } = delivery;
        let column = self.column(from)?;
        Some(Sender {
            column,
            adopts: arrival == Arrival::Sync || self.presence.is_joining(column, now),
            returns: self.presence.is_returning(column, now),
            peers: self.peers.len() as u64,
            detect_ns: self.detect_timeout.as_nanos() as u64,
            now,
        })
    }

    pub(super) fn merge(&mut self, sender: &Sender, entry: &Entry, line: Option<usize>) -> Applied {
        let Sender { column, now, .. } = *sender;
        let Some((rules, limits)) = self.directory.find(entry.policy) else { return Applied::UnknownPolicy };
        self.stats.epochs_lost += u64::from(self.peers[column].note(entry));
        let strict = rules.sharing.consistency == Consistency::Strict;
        let plain = line.filter(|_| !strict && !self.presence.is_disturbed());
        if let Some(tokens) = plain.and_then(|line| self.charge_plainly(sender, entry, limits, line)) {
            self.observed[rules.index].add(1 + column, tokens);
            return Applied::Charged(tokens);
        }
        let mut hearing = Hearing {
            table: &self.table,
            entry,
            heard: &self.peers[column].heard,
            strict,
            sender,
            covered: None,
            noted: None,
            forgotten: 0,
            applied: Applied::Known,
            highest: 0,
        };
        let merged = self.table.merge(entry.id, line, limits, column as u32, now, |line, heard, limits| {
            hearing.next(line, heard, limits)
        });
        let Some(line) = merged else { return Applied::TableFull };
        let Hearing { applied, highest, covered, noted, forgotten, .. } = hearing;
        let rules_index = rules.index;
        self.peers[column].heard.set(line, highest);
        if let Some((for_absent, level)) = noted {
            self.table.note_phantom(line, for_absent, level);
        }
        self.stats.covered_tokens += covered.unwrap_or(0) >> FIXED_BITS;
        self.stats.forgotten_tokens = self.stats.forgotten_tokens.saturating_add(forgotten);
        if let (Applied::Charged(tokens), false) = (applied, self.presence.is_disturbed()) {
            self.observed[rules_index].add(1 + column, tokens);
        }
        applied
    }

    /// Charges the growth of a counter as nearly all are: of a bucket that is in `line` and was heard of before, into
    /// no debt, and with nothing for absent peers. The tokens; `None` for any other, to which nothing was done.
    #[inline]
    fn charge_plainly(&self, sender: &Sender, entry: &Entry, limits: &Limits, line: usize) -> Option<u64> {
        let heard = &self.peers[sender.column].heard;
        let before = Some(heard.get(line)).filter(|count| *count > 0)?;
        let News::Growth(tokens) = rule::news(Some(before), entry) else { return None };
        if tokens > limits.burst() || !self.table.absent(limits).is_none() {
            return None;
        }
        let (now, ticks) = (limits.clock().at(sender.now), limits.clock().ticks(tokens));
        let raised = |tat: u64| Some(tat.max(now) + ticks).filter(|tat| *tat <= now + limits.burst_ticks());
        let is_done = self.table.raise(line, entry.id, limits, sender.column as u32, raised);
        is_done.then(|| {
            heard.set(line, entry.count);
            tokens
        })
    }
}
