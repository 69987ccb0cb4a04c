//! Secrets by name of their place. They are not read here: they are when they are used.

use std::path::PathBuf;

use super::policy;
use super::problem::Findings;
use super::section::{Section, Text};
use crate::agent::secret::SecretSource;

/// The two keys by which a secret is named: its file, or its systemd credential.
pub(super) type SecretKeys = [&'static str; 2];

/// A secret that may be left out.
pub(super) fn secret(
    section: &mut Section<'_>,
    [file_key, credential_key]: SecretKeys,
) -> Option<SecretSource> {
    let findings = section.findings();
    let file = section.text(file_key, "/etc/openclaw-rating/token");
    let credential = section.text(credential_key, "token");
    if let (Some(_), Some(Text { place, .. })) = (&file, &credential) {
        let what = format!("{} has both `{file_key}` and `{credential_key}`", section.label());
        findings.wrong(*place, what, "keep one of them");
        return None;
    }
    file.and_then(|file| secret_file(file, findings))
        .or_else(|| credential.and_then(|credential| secret_credential(credential, findings)))
}

pub(super) fn secret_file(file: Text<'_>, findings: &Findings) -> Option<SecretSource> {
    if file.text.is_empty() {
        findings.wrong(file.place, "this names no file", "write the path of the secret's file");
        return None;
    }
    Some(SecretSource::File(PathBuf::from(file.text)))
}

pub(super) fn secret_credential(credential: Text<'_>, findings: &Findings) -> Option<SecretSource> {
    if !policy::is_name(credential.text) {
        let what = format!("{:?} cannot be the name of a systemd credential", credential.text);
        findings.wrong(credential.place, what, "use the name of a LoadCredential= line in the unit");
        return None;
    }
    Some(SecretSource::Credential(credential.text.to_owned()))
}
