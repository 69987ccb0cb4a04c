//! Reads one table of settings by name, and reports every key that nobody asked for.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{Findings, Place};
use super::units::{parse_duration, written};
use super::value::{Kind, Table, Value};

/// A table that is being read. Getters return `None` for what is absent and for what is wrong; the
/// latter is in the findings.
pub(super) struct Section<'a> {
    label: String,
    place: Place,
    table: Option<&'a Table>,
    known: Vec<&'static str>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    /// The table that `value` is; reports anything else.
    pub(super) fn of(label: impl Into<String>, value: &'a Value, findings: &'a Findings) -> Self {
        let label = label.into();
        let table = match &value.kind {
            Kind::Table(table) => Some(table),
            _ => {
                let what = format!("{label} must be a table, not {}", value.described());
                findings.no_table(
                    value.place,
                    what,
                    "write its keys on lines of their own below its heading",
                );
                None
            }
        };
        Self { label, place: value.place, table, known: Vec::new(), findings }
    }

    /// The table `key` inside this one, empty when there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let label = match self.label.strip_suffix(']') {
            Some(parent) => format!("{parent}.{key}]"),
            None => format!("[{key}]"),
        };
        match self.get(key) {
            Some(value) => Self::of(label, value, self.findings),
            None => {
                Self { label, place: self.place, table: None, known: Vec::new(), findings: self.findings }
            }
        }
    }

    /// Where what is wrong in it is gathered.
    pub(super) const fn findings(&self) -> &'a Findings {
        self.findings
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Adds to the label what tells this table from its neighbours.
    pub(super) fn name(&mut self, name: &str) {
        let _ = write!(self.label, " {name:?}");
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key).map(|entry| &entry.value)
    }

    /// All entries, for a table whose keys are free.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, Place, &'a Value)> + use<'a> {
        self.table.into_iter().flatten().map(|(name, entry)| (name, entry.key, &entry.value))
    }

    /// The text `key`; reports that it is not there.
    pub(super) fn required(&mut self, key: &'static str, example: &str) -> Option<Text<'a>> {
        if self.get(key).is_none() {
            let what = format!("{} has no `{key}`", self.label);
            self.findings.missing(self.place, what, format!("write {key} = \"{example}\""));
            return None;
        }
        self.text(key, example)
    }

    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<Text<'a>> {
        let value = self.get(key)?;
        let Kind::Text(text) = &value.kind else {
            self.mistyped(key, value, "text in quotes", &format!("write `{key} = \"{example}\"`"));
            return None;
        };
        Some(Text { text, place: value.place })
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        let Kind::Boolean(flag) = value.kind else {
            self.mistyped(key, value, "true or false", "write one of the two, without quotes");
            return None;
        };
        Some(flag)
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.get(key)?;
        if let Kind::Integer(number) = value.kind
            && let Ok(number) = u64::try_from(number)
            && range.contains(&number)
        {
            return Some(number);
        }
        let (least, most) = (range.start(), range.end());
        let help = match value.kind {
            Kind::Integer(_) => format!("choose a number from {least} to {most}"),
            _ => "write the number without quotes or unit".to_owned(),
        };
        self.mistyped(key, value, &format!("a whole number from {least} to {most}"), &help);
        None
    }

    pub(super) fn count(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<usize> {
        self.integer(key, range).and_then(|number| usize::try_from(number).ok())
    }

    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Text { text, place } = self.text(key, "10s")?;
        let label = &self.label;
        match parse_duration(text) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) => self.findings.wrong(
                place,
                format!(
                    "`{key}` in {label} must be from {} to {}, not {text:?}",
                    written(*range.start()),
                    written(*range.end())
                ),
                "choose a time in that range",
            ),
            Err(error) => self.findings.wrong(
                place,
                format!("`{key}` in {label} is not a duration: {text:?} {error}"),
                "write a number and a unit: \"250ms\", \"10s\", \"5min\", \"2h\", \"1day\"",
            ),
        }
        None
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.get(key)?;
        if let Kind::Text(text) = &value.kind
            && let Some((_, chosen)) = choices.iter().find(|(name, _)| name == text)
        {
            return Some(*chosen);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let help = match &value.kind {
            Kind::Text(text) => did_you_mean(text, choices.iter().map(|(name, _)| *name)),
            _ => None,
        };
        let expected = format!("one of {}", names.join(", "));
        self.mistyped(key, value, &expected, &help.unwrap_or_else(|| "choose one of them".to_owned()));
        None
    }

    /// The elements of the array `key`, none when it is absent.
    pub(super) fn array(&mut self, key: &'static str, max: usize, help: &str) -> &'a [Value] {
        let Some(value) = self.get(key) else { return &[] };
        let Kind::Array(items) = &value.kind else {
            self.mistyped(key, value, "an array", help);
            return &[];
        };
        if items.len() > max {
            let what = format!("`{key}` in {} has {} elements; the most is {max}", self.label, items.len());
            self.findings.wrong(value.place, what, "remove some");
        }
        &items[..items.len().min(max)]
    }

    /// The texts of the array `key`, none when it is absent.
    pub(super) fn texts(&mut self, key: &'static str, max: usize, help: &str) -> Vec<Text<'a>> {
        let mut texts = Vec::new();
        for item in self.array(key, max, help) {
            match &item.kind {
                Kind::Text(text) => texts.push(Text { text, place: item.place }),
                _ => {
                    let what = format!(
                        "`{key}` in {} must hold texts in quotes, not {}",
                        self.label,
                        item.described()
                    );
                    self.findings.wrong(item.place, what, help);
                }
            }
        }
        texts
    }

    /// Reports the keys that are no settings.
    pub(super) fn finish(self) {
        for (name, place, _) in self.entries().filter(|(name, ..)| !self.known.contains(&name.as_str())) {
            let help = did_you_mean(name, self.known.iter().copied())
                .unwrap_or_else(|| format!("the keys are {}", self.known.join(", ")));
            self.findings.wrong(place, format!("{} has no key `{name}`", self.label), help);
        }
    }

    fn mistyped(&self, key: &str, value: &Value, expected: &str, help: &str) {
        let what = format!("`{key}` in {} must be {expected}, not {}", self.label, value.described());
        self.findings.wrong(value.place, what, help);
    }
}

/// A text and where it was written.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) place: Place,
}

/// A suggestion for `word`, when one of `candidates` is close to it.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    // A third of the letters wrong is still a slip of the hand; long words are not compared at all.
    let allowed = (word.chars().count() / 3).max(1);
    let near = candidates
        .map(|candidate| (edit_distance(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed && word.len() <= 64)
        .min()?;
    Some(format!("did you mean `{}`?", near.1))
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_gets_a_suggestion_and_another_word_none() {
        let keys = ["threads", "listen", "pin"];
        let suggest = |word| did_you_mean(word, keys.into_iter());
        assert_eq!(suggest("thread").as_deref(), Some("did you mean `threads`?"));
        assert_eq!(suggest("lisetn").as_deref(), Some("did you mean `listen`?"));
        assert_eq!(suggest("PIN").as_deref(), Some("did you mean `pin`?"));
        assert_eq!(suggest("colour"), None);
        assert_eq!(suggest(&"x".repeat(10_000)), None);
    }
}
