//! What is wrong with a configuration, and where: all of it, in the order of the text.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// The widest part of a line that a report shows.
const MAX_EXCERPT_CHARS: usize = 120;
/// A file of nothing but mistakes must not fill memory with reports.
const MAX_PROBLEMS: usize = 1000;
/// The longest sentence that is shown whole: what is wrong may quote a value of any length.
const MAX_WHAT_CHARS: usize = 500;

/// A stretch of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    source: usize,
    start: usize,
    end: usize,
}

impl Place {
    pub(super) const fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}

/// A text that settings come from.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    /// A file has lines to count; an environment variable or an argument is shown as it is.
    has_lines: bool,
}

#[derive(Debug)]
struct Finding {
    place: Option<Place>,
    what: String,
    help: Option<String>,
}

/// Gathers sources and what is wrong in them. All who read settings share it; each section carries it.
#[derive(Debug, Default)]
pub(super) struct Findings {
    gathered: RefCell<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    sources: Vec<Source>,
    syntax: Vec<Finding>,
    /// Sources and lines that have a syntax error.
    broken_lines: BTreeSet<(usize, usize)>,
    /// The last of all, also of those that are only counted.
    last_broken_line: Option<(usize, usize)>,
    meaning: Vec<Finding>,
    /// Problems beyond those that are kept.
    more: usize,
    /// Where a table should be and is none.
    no_tables: BTreeSet<Place>,
}

impl Findings {
    /// Adds a source and returns its number, for [`Place::new`].
    pub(super) fn add_source(&self, name: String, text: String, has_lines: bool) -> usize {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let sources = &mut self.gathered.borrow_mut().sources;
        sources.push(Source { name, text, line_starts, has_lines });
        sources.len() - 1
    }

    /// A place where the text is not TOML. Only the first on a line is kept: what the parser says of
    /// the rest of the line follows from it.
    pub(super) fn syntax(&self, place: Place, what: String) {
        let mut gathered = self.gathered.borrow_mut();
        let line = gathered.line_of(place);
        if gathered.broken_lines.contains(&line) || gathered.last_broken_line == Some(line) {
            return;
        }
        gathered.last_broken_line = Some(line);
        if gathered.broken_lines.len() < MAX_PROBLEMS {
            gathered.broken_lines.insert(line);
            gathered.syntax.push(Finding { place: Some(place), what, help: None });
        } else {
            gathered.more += 1;
        }
    }

    /// A place where the text says something that cannot be.
    pub(super) fn wrong(&self, place: Place, what: impl Into<String>, help: impl Into<String>) {
        let finding = Finding { place: Some(place), what: what.into(), help: Some(help.into()) };
        self.gathered.borrow_mut().keep(finding);
    }

    /// Something else stands where a table should be.
    pub(super) fn no_table(&self, place: Place, what: impl Into<String>, help: impl Into<String>) {
        self.gathered.borrow_mut().no_tables.insert(place);
        self.wrong(place, what, help);
    }

    /// Something that the table at `place` lacks. A syntax error may have swallowed it, so this is
    /// only reported when there is none; nor is what lacks in something that is no table.
    pub(super) fn missing(&self, place: Place, what: impl Into<String>, help: impl Into<String>) {
        if !self.gathered.borrow().explains_what_is_missing(place) {
            self.wrong(place, what, help);
        }
    }

    /// Something wrong with a source as a whole.
    pub(super) fn outside(&self, what: String, help: &str) {
        let finding = Finding { place: None, what, help: Some(help.to_owned()) };
        self.gathered.borrow_mut().keep(finding);
    }

    /// Where `place` begins, in words.
    pub(super) fn describe(&self, place: Place) -> String {
        let source = &self.gathered.borrow().sources[place.source];
        if source.has_lines { format!("line {}", source.line_of(place.start)) } else { source.name.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        let gathered = self.gathered.borrow();
        gathered.syntax.is_empty() && gathered.meaning.is_empty()
    }

    /// The problems, in the order of the text.
    pub(super) fn into_problems(self) -> Problems {
        self.gathered.into_inner().into_problems()
    }
}

impl Gathered {
    fn keep(&mut self, finding: Finding) {
        if self.meaning.len() < MAX_PROBLEMS {
            self.meaning.push(finding);
        } else {
            self.more += 1;
        }
    }

    fn explains_what_is_missing(&self, place: Place) -> bool {
        !self.syntax.is_empty() || self.no_tables.contains(&place)
    }

    fn into_problems(self) -> Problems {
        // After a syntax error the value on that line is a guess: what is wrong with it is noise.
        let is_guess = |place| self.broken_lines.contains(&self.line_of(place));
        let meaning = self.meaning.iter().filter(|finding| !finding.place.is_some_and(is_guess));
        let mut all: Vec<&Finding> = self.syntax.iter().chain(meaning).collect();
        all.sort_by_key(|finding| finding.place);
        Problems { list: all.into_iter().map(|finding| self.resolve(finding)).collect(), more: self.more }
    }

    fn line_of(&self, place: Place) -> (usize, usize) {
        (place.source, self.sources[place.source].line_of(place.start))
    }

    fn resolve(&self, finding: &Finding) -> Problem {
        Problem {
            location: finding.place.map(|place| locate(&self.sources[place.source], place)),
            what: shown(&finding.what),
            help: finding.help.clone(),
        }
    }
}

/// Where a problem is, with the line it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    source: String,
    line: usize,
    column: usize,
    has_lines: bool,
    excerpt: String,
    marked: Range<usize>,
}

/// One thing that is wrong: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    location: Option<Location>,
    what: String,
    help: Option<String>,
}

impl Problem {
    /// Line and column, counted from 1, when the problem is in a file.
    #[must_use]
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        self.location.as_ref().filter(|l| l.has_lines).map(|l| (l.line, l.column))
    }

    /// What is wrong, in one sentence.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(location) = &self.location {
            write!(f, "\n{location}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, line, column, excerpt, marked, .. } = self;
        let number = if self.has_lines { line.to_string() } else { String::new() };
        let gutter = " ".repeat(number.len());
        if self.has_lines {
            writeln!(f, "{gutter} --> {source}:{line}:{column}")?;
        } else {
            writeln!(f, "{gutter} --> {source}")?;
        }
        writeln!(f, "{gutter}  |")?;
        writeln!(f, "{number}  | {excerpt}")?;
        write!(f, "{gutter}  | {}{}", " ".repeat(marked.start), "^".repeat(marked.len().max(1)))
    }
}

/// Everything that is wrong with a configuration. There is at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// How many more there are, which are not listed.
    more: usize,
}

impl Problems {
    /// The problems, in the order of the text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.list.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            writeln!(f, "{problem}\n")?;
        }
        let count = self.list.len();
        write!(f, "{count} problem{} in the configuration", if count == 1 { "" } else { "s" })?;
        match self.more {
            0 => Ok(()),
            more => write!(f, ", and {more} more that are not listed"),
        }
    }
}

impl std::error::Error for Problems {}

impl Source {
    /// The line of a byte, counted from 1.
    fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    /// The text of a line, without its end.
    fn line(&self, number: usize) -> &str {
        let rest = &self.text[self.line_starts[number - 1]..];
        rest.split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }
}

/// `byte`, or where the character around it begins, or the end of `text`.
fn char_boundary(text: &str, byte: usize) -> usize {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn locate(source: &Source, place: Place) -> Location {
    let start = char_boundary(&source.text, place.start);
    let end = char_boundary(&source.text, place.end.max(place.start));
    let number = source.line_of(start);
    let line = source.line(number);
    let before = source.text[source.line_starts[number - 1]..start].chars().count();
    let marked_chars = source.text[start..end].split('\n').next().unwrap_or_default().chars().count();
    // A long line is shown from a little before the mark.
    let skip = if line.chars().nth(MAX_EXCERPT_CHARS).is_some() { before.saturating_sub(20) } else { 0 };
    let excerpt: String = line.chars().skip(skip).take(MAX_EXCERPT_CHARS).map(printable).collect();
    let width = excerpt.chars().count();
    let from = (before - skip).min(width);
    Location {
        source: source.name.clone(),
        line: number,
        column: before + 1,
        has_lines: source.has_lines,
        excerpt,
        marked: from..(from + marked_chars).min(width),
    }
}

/// A sentence without control characters, and without the middle when it is too long for a person.
fn shown(what: &str) -> String {
    let mut chars: Vec<char> = what.chars().map(printable).collect();
    if chars.len() > MAX_WHAT_CHARS {
        let part = MAX_WHAT_CHARS / 2;
        chars.splice(part..chars.len() - part, [' ', '…', ' ']);
    }
    chars.into_iter().collect()
}

/// Control characters of a file must not reach the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
