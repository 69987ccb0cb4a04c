//! Text from outside, made harmless for Markdown. HTML is escaped where it is made.

use crate::agent::journal::printable;

/// Characters that mean something in CommonMark or GitHub's form of it, wherever they stand.
const ACTIVE: &str = "\\`*_[]|~!$@#";

/// `text` as plain text within a line, a list item or a table cell that has begun: no markup, no HTML, no
/// links.
pub(super) fn markdown(text: &str) -> String {
    let text = printable(text);
    let mut escaped = String::with_capacity(text.len() + 16);
    let mut before = [' '; 3];
    for c in text.chars() {
        // Not every dialect takes a backslash before these.
        let entity = match c {
            '<' => Some("&lt;"),
            '>' => Some("&gt;"),
            '&' => Some("&amp;"),
            _ => None,
        };
        // `https://…` and `www.…` become links without any mark.
        let makes_link = c == '/' && before[2] == ':'
            || c == '.' && before.iter().all(|letter| letter.eq_ignore_ascii_case(&'w'));
        if makes_link || ACTIVE.contains(c) {
            escaped.push('\\');
        }
        match entity {
            Some(entity) => escaped.push_str(entity),
            None => escaped.push(c),
        }
        before = [before[1], before[2], c];
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup_or_a_link() {
        for (text, expected) in [
            ("plain 192.0.2.1, fine.", "plain 192.0.2.1, fine."),
            ("a|b", "a\\|b"),
            ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)&gt;"),
            ("[x](javascript:alert(1))", "\\[x\\](javascript:alert(1))"),
            ("**b** _i_ `c`", "\\*\\*b\\*\\* \\_i\\_ \\`c\\`"),
            ("line\n# heading", "line \\# heading"),
            ("see https://evil.example", "see https:\\//evil.example"),
            ("WWW.evil.example", "WWW\\.evil.example"),
            ("&lt;b&gt; @everyone", "&amp;lt;b&amp;gt; \\@everyone"),
            ("\\", "\\\\"),
        ] {
            assert_eq!(markdown(text), expected);
        }
    }
}
