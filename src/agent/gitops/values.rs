//! One scalar in a YAML text, changed in place: comments, order, quotes and spaces stay.
//!
//! Understood are block mappings with plain or quoted scalars on one line, which is what values files
//! hold. Anything else on the way to the key is refused, never guessed.

use std::ops::Range;

/// Why a value cannot be read or set. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValuesError {
    /// The key is not there.
    #[error("there is no key `{0}`. Add it once by hand; the agent only changes its value")]
    Missing(String),
    /// The key is there twice.
    #[error("the key `{0}` is there twice. Leave one of them")]
    Twice(String),
    /// What is there is more than a scalar on one line.
    #[error(
        "line {line} has a form that is not changed automatically ({what}). Write `key: value` on one line, \
         with spaces before it"
    )]
    Form {
        /// Counted from 1.
        line: usize,
        /// What it is.
        what: &'static str,
    },
    /// The new value is not one plain word.
    #[error("`{0}` is not a region's name: letters, digits, `-`, `_` and `.` only")]
    BadValue(String),
}

/// The value at `path`, which is keys with dots between.
pub fn get_value(text: &str, path: &str) -> Result<String, ValuesError> {
    let (_, value) = locate(text, path)?;
    Ok(value.to_owned())
}

/// `text` with `value` at `path`.
pub fn set_value(text: &str, path: &str, value: &str) -> Result<String, ValuesError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if value.is_empty()
        || !value.chars().all(is_plain)
        || !value.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(ValuesError::BadValue(value.to_owned()));
    }
    let (place, _) = locate(text, path)?;
    let is_quoted = text[..place.start].ends_with(['"', '\'']);
    // A bare `1e3`, `no` or `null` would be read as something else than text.
    let needs_quotes = !is_quoted && !is_surely_text(value);
    let written = if needs_quotes { format!("\"{value}\"") } else { value.to_owned() };
    Ok(format!("{}{written}{}", &text[..place.start], &text[place.end..]))
}

/// Where the scalar at `path` is, without its quotes, and what it is.
fn locate<'a>(text: &'a str, path: &str) -> Result<(Range<usize>, &'a str), ValuesError> {
    let keys: Vec<&str> = path.split('.').collect();
    let mut found = None;
    // The indents of the keys that were met on the way to the current line, outermost first.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut start = 0;
    for (at, raw) in text.split_inclusive('\n').enumerate() {
        let line = Line { number: at + 1, start, text: raw.trim_end_matches(['\n', '\r']) };
        start += raw.len();
        let content = line.text.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if matches!(line.text.trim_end(), "---" | "...") && open.is_empty() {
            continue;
        }
        let indent = line.text.len() - content.len();
        while open.last().is_some_and(|(outer, _)| *outer >= indent) {
            open.pop();
        }
        // Only lines whose whole way up is on the path can matter.
        let depth = open.len();
        let on_path = open.iter().all(|(_, matches)| *matches) && depth < keys.len();
        let key_matches = on_path && line.key(content)? == Some(keys[depth]);
        open.push((indent, key_matches));
        if key_matches && depth + 1 == keys.len() {
            if found.is_some() {
                return Err(ValuesError::Twice(path.to_owned()));
            }
            found = Some(line.scalar()?);
        } else if key_matches {
            line.must_open_a_mapping()?;
        }
    }
    found.map(|place| (place.clone(), &text[place])).ok_or_else(|| ValuesError::Missing(path.to_owned()))
}

struct Line<'a> {
    number: usize,
    start: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The key of `content`, without quotes; `None` when it has none.
    fn key(&self, content: &'a str) -> Result<Option<&'a str>, ValuesError> {
        if self.text[..self.text.len() - content.len()].contains('\t') {
            return Err(self.form("a tab before the key"));
        }
        if let Some(quote) = content.chars().next().filter(|c| "\"'".contains(*c)) {
            let rest = &content[1..];
            return Ok(rest
                .find(quote)
                .filter(|end| rest[end + 1..].starts_with(':'))
                .map(|end| &rest[..end]));
        }
        let end = content.find(": ").or_else(|| content.strip_suffix(':').map(str::len));
        Ok(end.map(|end| content[..end].trim_end()))
    }

    /// What follows the key's colon, and where.
    fn after_key(&self) -> (usize, &'a str) {
        let colon = self.text.find(": ").map_or(self.text.len(), |at| at + 1);
        let rest = &self.text[colon..];
        let value = rest.trim_start();
        (self.text.len() - value.len(), value)
    }

    fn must_open_a_mapping(&self) -> Result<(), ValuesError> {
        let (_, rest) = self.after_key();
        if rest.is_empty() || rest.starts_with('#') {
            Ok(())
        } else {
            Err(self.form("not a mapping of lines below it"))
        }
    }

    fn scalar(&self) -> Result<Range<usize>, ValuesError> {
        let (at, rest) = self.after_key();
        let start = self.start + at;
        match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = rest[1..].find(quote).ok_or_else(|| self.form("an open quote"))?;
                let (inside, after) = (&rest[1..=end], &rest[end + 2..]);
                let is_end = after.trim_start().is_empty() || after.trim_start().starts_with('#');
                if inside.contains('\\') || !is_end {
                    return Err(self.form("an escape in a quoted text"));
                }
                Ok(start + 1..start + 1 + inside.len())
            }
            None | Some('#') => Err(self.form("no value")),
            Some('{' | '[') => Err(self.form("a list or mapping in brackets")),
            Some('&' | '*' | '!') => Err(self.form("an anchor, alias or tag")),
            Some('|' | '>') => Err(self.form("a text of several lines")),
            Some(_) => {
                let value = rest.find(" #").map_or(rest, |comment| &rest[..comment]).trim_end();
                Ok(start..start + value.len())
            }
        }
    }

    const fn form(&self, what: &'static str) -> ValuesError {
        ValuesError::Form { line: self.number, what }
    }
}

/// Begins with a letter, has a character that no number or keyword has, or is longer than any keyword.
fn is_surely_text(value: &str) -> bool {
    let keyword = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && !keyword.contains(&value.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALUES: &str = "\
# Which region serves. Changed by the agent.
replicaCount: 3   # both regions
ingress:
  region: us-east   # not this one
  hosts:
    - region: us-west
global:

  labels: {region: x}
  \"region\": 'eu-west-1' # keep me
other:
  - region: ap
region:   eu   # nor this comment
";

    #[test]
    fn one_scalar_changes_and_nothing_else() {
        let changed = set_value(VALUES, "region", "us").unwrap();
        assert_eq!(changed, VALUES.replace("region:   eu ", "region:   us "));
        let changed = set_value(VALUES, "global.region", "us").unwrap();
        assert_eq!(changed, VALUES.replace("'eu-west-1'", "'us'"));
        let changed = set_value(VALUES, "ingress.region", "no").unwrap();
        assert_eq!(changed, VALUES.replace("us-east ", "\"no\" "));
        assert_eq!(get_value(VALUES, "global.region").unwrap(), "eu-west-1");
        assert_eq!(get_value("a:\r\n  region: eu\r\n", "a.region").unwrap(), "eu");
        assert_eq!(set_value("region: eu", "region", "us").unwrap(), "region: us");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        let form = |line, what| Err(ValuesError::Form { line, what });
        for (text, expected) in [
            ("a: 1\nregion: {x: y}\n", form(2, "a list or mapping in brackets")),
            ("region: &r eu\n", form(1, "an anchor, alias or tag")),
            ("region: |\n  eu\n", form(1, "a text of several lines")),
            ("region:\n", form(1, "no value")),
            ("region: # eu\n", form(1, "no value")),
            ("region: \"eu\n", form(1, "an open quote")),
            ("region: \"e\\u\"\n", form(1, "an escape in a quoted text")),
            ("\tregion: eu\n", form(1, "a tab before the key")),
            ("region: a\nregion: b\n", Err(ValuesError::Twice("region".to_owned()))),
            ("regions: eu\n", Err(ValuesError::Missing("region".to_owned()))),
            ("", Err(ValuesError::Missing("region".to_owned()))),
        ] {
            assert_eq!(set_value(text, "region", "us"), expected, "{text}");
        }
        assert_eq!(
            set_value("a: b\n", "a.region", "us"),
            form(1, "not a mapping of lines below it").map(|_: String| String::new())
        );
        for value in ["", "a b", "a\nb", "a: b", "-a", "é"] {
            assert_eq!(set_value(VALUES, "region", value), Err(ValuesError::BadValue(value.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn what_was_set_is_read_back_and_the_rest_stays(
            value in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,20}",
            path in "(region|global\\.region|ingress\\.region)",
        ) {
            let changed = set_value(VALUES, &path, &value).unwrap();
            prop_assert_eq!(get_value(&changed, &path).unwrap(), value);
            prop_assert_eq!(changed.lines().count(), VALUES.lines().count());
            prop_assert_eq!(changed.lines().zip(VALUES.lines()).filter(|(a, b)| a != b).count() <= 1, true);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[ a-z:#'\"\\n\\t{&|-]{0,80}") {
            let _ = set_value(&text, "a.b", "x");
            let _ = set_value(&text, "a", "x");
        }
    }
}
