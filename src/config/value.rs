//! A tree of settings that knows where each value was written, whatever it was written in.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Findings, Place};

pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) place: Place,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Text(String),
    /// Saturated, so that a number too large for any setting is reported as out of its range.
    Integer(i128),
    Float,
    Boolean(bool),
    Datetime,
    Array(Vec<Value>),
    Table(Table),
}

impl Value {
    /// Whether it is an array that lists nothing.
    pub(super) fn is_empty_array(&self) -> bool {
        matches!(&self.kind, Kind::Array(items) if items.is_empty())
    }

    /// What the value is, in words.
    pub(super) fn described(&self) -> String {
        match &self.kind {
            Kind::Text(text) => format!("{text:?}"),
            Kind::Integer(number) => number.to_string(),
            Kind::Float => "a number with a fraction".to_owned(),
            Kind::Boolean(value) => value.to_string(),
            Kind::Datetime => "a date or time".to_owned(),
            Kind::Array(_) => "an array".to_owned(),
            Kind::Table(_) => "a table".to_owned(),
        }
    }
}

/// The document in `text`, as much of it as can be read; what cannot goes to `findings`.
pub(super) fn parse_document(text: &str, source: usize, findings: &Findings) -> Value {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        findings.syntax(Place::new(source, span), format!("this is not TOML: {}", error.message()));
    }
    let place = Place::new(source, 0..0);
    Value { place, kind: Kind::Table(table_from(document.get_ref(), source, 0)) }
}

/// The TOML value in `text`, or the text itself when it is not one: `--set log.level=debug`. Spaces around it do not
/// count.
pub(super) fn parse_bare(text: &str, source: usize, offset: usize) -> Value {
    let offset = offset + text.len() - text.trim_start().len();
    let text = text.trim();
    match DeValue::parse(text) {
        Ok(value) => value_from(&value, source, offset),
        Err(_) => Value {
            place: Place::new(source, offset..offset + text.len()),
            kind: Kind::Text(text.to_owned()),
        },
    }
}

fn table_from(table: &DeTable<'_>, source: usize, offset: usize) -> Table {
    let mut entries = Table::new();
    for (name, value) in table {
        let key = place_from(name, source, offset);
        let mut entry = Entry { key, value: value_from(value, source, offset) };
        if value.span().is_empty() {
            // A table that no heading made, or a value that the parser made up after an error.
            entry.value.place = key;
        }
        entries.insert(name.get_ref().to_string(), entry);
    }
    entries
}

fn value_from(value: &Spanned<DeValue<'_>>, source: usize, offset: usize) -> Value {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => {
            Kind::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(_) => Kind::Float,
        DeValue::Boolean(value) => Kind::Boolean(*value),
        DeValue::Datetime(_) => Kind::Datetime,
        DeValue::Array(items) => {
            Kind::Array(items.iter().map(|item| value_from(item, source, offset)).collect())
        }
        DeValue::Table(table) => Kind::Table(table_from(table, source, offset)),
    };
    Value { place: place_from(value, source, offset), kind }
}

fn place_from<T>(spanned: &Spanned<T>, source: usize, offset: usize) -> Place {
    let span = spanned.span();
    Place::new(source, span.start + offset..span.end + offset)
}
