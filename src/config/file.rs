//! The configuration file: found, read, and made into a tree.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use super::problem::{Findings, Place};
use super::value::{self, Value};
use super::{CONFIG_VARIABLE, Sources};
use crate::files;

/// A bound on what a wrong path can make the server read.
const MAX_FILE_BYTES: u64 = 8 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reports a pipe (`--config <(…)`): it gave its text once, and would give nothing now, or have the server wait for it.
pub(super) fn check_can_be_read_again(sources: &Sources, findings: &Findings) {
    let Some(path) = &sources.file else { return };
    // What is not there, or is a directory, is reported when it is read.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let what = format!("the configuration {} is no file, so it cannot be read again", path.display());
        findings.outside(what, "restart the server to change its policies, or start it with a file");
    }
}

/// Whether the file was to be named and was not; reports it.
pub(super) fn is_nameless(sources: &Sources, findings: &Findings) -> bool {
    let is_empty = sources.file.as_deref().is_some_and(|path| path.as_os_str().is_empty());
    if is_empty {
        let by_variable =
            sources.environment.iter().any(|(name, text)| name == CONFIG_VARIABLE && text.is_empty());
        let what = if by_variable { CONFIG_VARIABLE } else { "--config" };
        let help = "name a file there, or leave it out for ./openclaw-rating.toml or the built-in defaults";
        findings.outside(format!("{what} is empty"), help);
    }
    is_empty
}

/// The settings of the file, or the built-in ones; `None` when it cannot be read.
pub(super) fn read_document(file: Option<&Path>, findings: &Findings) -> Option<Value> {
    let Some(path) = file else {
        let defaults = include_str!("defaults.toml");
        let source = findings.add_source("the built-in defaults".to_owned(), defaults.to_owned(), true);
        return Some(value::parse_document(defaults, source, findings));
    };
    let bytes = match File::open(path).and_then(read_to_end) {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("cannot read the configuration file {}: {error}", path.display());
            findings.outside(what, remedy_of_unreadable(error.kind()));
            return None;
        }
    };
    // Some editors begin a file with it. It takes no column, and TOML passes over it.
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let text = String::from_utf8_lossy(bytes).into_owned();
    let source = findings.add_source(path.display().to_string(), text.clone(), true);
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let what = "this is not UTF-8, which TOML must be".to_owned();
        findings.syntax(Place::new(source, at..at + char::REPLACEMENT_CHARACTER.len_utf8()), what);
    }
    Some(value::parse_document(&text, source, findings))
}

const fn remedy_of_unreadable(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "let the user of the server read it: chgrp openclaw-rating FILE && chmod 640 FILE, and have its \
             directory open to them"
        }
        ErrorKind::FileTooLarge => "name the file that was meant, or use one prefix for many keys",
        _ => {
            "name a file that is there with --config or OPENCLAW_RATING_CONFIG, or neither for the built-in \
             defaults"
        }
    }
}

/// All bytes of a file that settings name. A pipe in its place would have a reload wait for whoever writes there.
pub(super) fn read_named(path: &Path) -> io::Result<Vec<u8>> {
    files::open_regular_or_link(path).and_then(read_to_end)
}

/// All bytes of a file, which is not larger than a configuration may be.
fn read_to_end(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}
