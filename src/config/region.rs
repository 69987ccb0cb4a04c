//! The region of this node: written down, or found in a file, the environment or a metadata service.

use std::path::Path;
use std::time::Duration;

use super::file::read_named;
use super::policy;
use super::problem::{Findings, Place};
use super::section::{Section, Text};

/// The region of a node that has not been told, and needs none.
const NONE: &str = "local";
/// The settings that say where it is, of which one is given.
pub(super) const SOURCES: [&str; 4] = ["region", "region_file", "region_env", "region_url"];
/// A metadata service is on the host or beside it.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_METADATA_BYTES: u64 = 1024;
const HELP: &str = "write region = \"eu-central\", or name one source: region_file, region_env or region_url";

/// The warning of a look at the settings while the metadata service is away.
pub(super) const NOT_KNOWN_NOW: &str = "the region is not known now, since the metadata service at \
    `region_url` gives none: a start would fail, a reload keeps the region that the server has";

/// How the source of the region is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup<'a> {
    /// Without an answer nothing can be served.
    Required,
    /// A metadata service that is away is no mistake in what is written.
    Tried,
    /// A server that runs has found it already.
    Known(&'a str),
}

/// Reads the one source that is named.
pub(super) fn read_region(
    section: &mut Section<'_>,
    environment: &[(String, String)],
    lookup: Lookup<'_>,
) -> String {
    let findings = section.findings();
    let header = section.text("region_url_header", "Metadata-Flavor: Google");
    let sources = [
        ("region", section.text("region", "eu-central")),
        ("region_file", section.text("region_file", "/etc/openclaw-rating/region")),
        ("region_env", section.text("region_env", "REGION")),
        ("region_url", section.text("region_url", "http://169.254.169.254/region")),
    ];
    let mut named = sources.into_iter().filter_map(|(key, source)| Some((key, source?)));
    let Some((key, Text { text, place })) = named.next() else { return NONE.to_owned() };
    if let Some((second, Text { place, .. })) = named.next() {
        findings.wrong(place, format!("[node] has both `{key}` and `{second}`"), "keep one of them");
    }
    let found = match (key, lookup) {
        ("region", _) => Ok(text.to_owned()),
        (_, Lookup::Known(region)) => return region.to_owned(),
        ("region_file", _) => from_file(text).map_err(NotFound::Wrong),
        ("region_env", _) => from_environment(text, environment).map_err(NotFound::Wrong),
        _ => from_url(text, header.map(|header| header.text)),
    };
    match found {
        Ok(region) => checked(region.trim(), place, findings),
        Err(NotFound::Away(_)) if lookup == Lookup::Tried => String::new(),
        Err(NotFound::Wrong(error) | NotFound::Away(error)) => {
            findings.wrong(place, format!("the region cannot be had from `{key}`: {error}"), HELP);
            NONE.to_owned()
        }
    }
}

/// Why a source gives no region.
enum NotFound {
    /// It never will as it is written.
    Wrong(String),
    /// The metadata service does not give one now.
    Away(String),
}

fn checked(region: &str, place: Place, findings: &Findings) -> String {
    if region.is_empty() || region.eq_ignore_ascii_case("unknown") {
        let what = format!("the region is {region:?}; a node that does not know where it is must not act");
        findings.wrong(place, what, HELP);
    } else if !policy::is_name(region) {
        let what = format!("{region:?} cannot be the name of a region");
        findings.wrong(place, what, "use 1 to 64 of the characters A-Z a-z 0-9 . _ -");
    }
    region.to_owned()
}

fn from_file(path: &str) -> Result<String, String> {
    let bytes = read_named(Path::new(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("{path} is not text"))
}

fn from_environment(name: &str, environment: &[(String, String)]) -> Result<String, String> {
    let found = environment.iter().find(|(variable, _)| variable == name);
    found.map(|(_, value)| value.clone()).ok_or_else(|| format!("the environment has no {name}"))
}

fn from_url(url: &str, header: Option<&str>) -> Result<String, NotFound> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(METADATA_TIMEOUT)).proxy(None).build().into();
    let mut request = agent.get(url);
    if let Some(header) = header {
        let malformed = || NotFound::Wrong("region_url_header must be `Name: value`".to_owned());
        let (name, value) = header.split_once(':').ok_or_else(malformed)?;
        request = request.header(name.trim(), value.trim());
    }
    let not_found = |error: ureq::Error| match error {
        // What cannot be made into a request.
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => NotFound::Wrong(format!("{url}: {error}")),
        _ => NotFound::Away(format!("{url}: {error}")),
    };
    let mut response = request.call().map_err(not_found)?;
    response.body_mut().with_config().limit(MAX_METADATA_BYTES).read_to_string().map_err(not_found)
}
