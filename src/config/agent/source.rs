//! What sections of the agent have in common: secrets by name of their place, URLs, sockets.

use std::path::PathBuf;

use super::super::problem::Findings;
use super::super::secret::{SecretKeys, secret};
use super::super::section::{Section, Text};
use crate::agent::https::{BaseUrl, Client, ClientOptions};
use crate::agent::secret::SecretSource;
use crate::agent::signals::ProbeUrl;

/// A secret that must be there.
pub(super) fn required_secret(section: &mut Section<'_>, keys: SecretKeys) -> Option<SecretSource> {
    if keys.iter().all(|key| section.get(key).is_none()) {
        let [file, credential] = keys;
        let what = format!("{} has neither `{file}` nor `{credential}`", section.label());
        let help =
            format!("write {file} = \"/etc/openclaw-rating/…\"; a secret itself is never in this file");
        section.findings().missing(section.place(), what, help);
    }
    secret(section, keys)
}

/// A service's base URL, or the one where it is for everybody.
pub(super) fn base_url(section: &mut Section<'_>, key: &'static str, usual: &str) -> Option<BaseUrl> {
    match section.get(key) {
        Some(_) => section.text(key, usual).and_then(|text| base_url_of(text, section.findings())),
        None => BaseUrl::new(usual).ok(),
    }
}

/// `text` as a base URL.
pub(super) fn base_url_of(text: Text<'_>, findings: &Findings) -> Option<BaseUrl> {
    let wrong = |error| {
        findings.wrong(
            text.place,
            format!("{:?} {error}", text.text),
            "write \"https://host\" or \"https://host/path\"",
        );
    };
    BaseUrl::new(text.text).map_err(wrong).ok()
}

/// `text` as a URL that is probed.
pub(super) fn probe_url(text: Text<'_>, findings: &Findings) -> Option<ProbeUrl> {
    let wrong = |error| {
        let help = "write \"http://192.0.2.1:8080/health\" or \"https://fra-1.example.com/health\"";
        findings.wrong(text.place, format!("{:?} {error}", text.text), help);
    };
    ProbeUrl::new(text.text).map_err(wrong).ok()
}

/// A file of authorities, which is read now as it will be at the start: a server must not find out then.
pub(super) fn ca_file(section: &mut Section<'_>, usual: &str) -> Option<PathBuf> {
    let Text { text, place } = section.text("ca_file", usual)?;
    let path = PathBuf::from(text);
    let options = ClientOptions { ca_file: Some(path.clone()), ..ClientOptions::default() };
    if let Err(error) = Client::new(&options) {
        section.findings().wrong(
            place,
            error.to_string(),
            "name a file of PEM certificates, or remove the line",
        );
    }
    Some(path)
}

/// Text that people read: one line of at most `max` characters.
pub(super) fn line(text: Text<'_>, max: usize, findings: &Findings) -> String {
    let count = text.text.chars().count();
    if count == 0 || count > max || text.text.contains(char::is_control) {
        findings.wrong(
            text.place,
            format!("{:?} does not fit here", text.text),
            format!("write one line of 1 to {max} characters"),
        );
    }
    text.text.to_owned()
}
