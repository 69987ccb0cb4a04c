//! `audit`: what the agent wrote down, and whether it is still what it wrote.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::output::{complain, end_with, fail, print};
use crate::agent::journal::{self, Checked, Line, Reader, json_of, printable, utc, words_of};
use crate::agent::types::UnixMs;
use crate::config::{self, Sources};
use crate::counted::counted;

/// Where the unit file puts it.
const USUAL_DIRECTORY: &str = "/var/lib/openclaw-rating/journal";

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that no line was changed, taken out or put in, nor taken from the beginning or the end
    Verify(Where),
    /// Print what was seen, decided and done
    Show(ShowArguments),
}

#[derive(Debug, Args)]
pub(super) struct Where {
    /// The journal's directory; else `journal` in the state directory of the configuration, else
    /// /var/lib/openclaw-rating/journal
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArguments {
    #[command(flatten)]
    place: Where,
    /// Only what belongs to this incident
    #[arg(long, value_name = "ID")]
    incident: Option<String>,
    /// Only from this time on: `2026-03-04T05:06:07Z`, or an age like `90s`, `15m`, `2h`, `7d`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    Time(UnixMs),
    AgeMs(u64),
}

pub(super) fn run(arguments: &AuditArguments, sources: &Sources) -> ExitCode {
    match &arguments.command {
        AuditCommand::Verify(place) => verify(&place.directory(sources)),
        AuditCommand::Show(arguments) => show(arguments, &arguments.place.directory(sources)),
    }
}

impl Where {
    /// A configuration that cannot be read here, for want of permission, does not stop a person who knows the usual
    /// place.
    pub(super) fn directory(&self, sources: &Sources) -> PathBuf {
        if let Some(directory) = &self.dir {
            return directory.clone();
        }
        match config::load(sources) {
            Ok(config) => config.state.map(|state| state.journal()),
            Err(_) => {
                complain(&format!(
                    "the configuration cannot be used (see check-config): looking into {USUAL_DIRECTORY}"
                ));
                None
            }
        }
        .unwrap_or_else(|| PathBuf::from(USUAL_DIRECTORY))
    }
}

fn verify(directory: &Path) -> ExitCode {
    let checked = match journal::check(directory) {
        Ok(checked) => checked,
        Err(error) => return fail(&error),
    };
    if checked.files == 0 && checked.fault.is_none() {
        return absent(directory);
    }
    let text = findings(&checked, directory);
    let code = checked.fault.map_or(ExitCode::SUCCESS, |fault| fail(&fault));
    end_with(&text, code)
}

fn findings(checked: &Checked, directory: &Path) -> String {
    let lines = counted(usize::try_from(checked.lines).unwrap_or(usize::MAX), "line", "lines");
    let files = counted(checked.files, "file", "files");
    let are = if checked.lines == 1 { "is" } else { "are" };
    let mut text = format!("{}: {lines} in {files} {are} sound\n", directory.display());
    if checked.first > 1 && checked.fault.is_none() {
        text.push_str(&format!(
            "it begins with line {}: it says that it dropped the earlier ones\n",
            checked.first
        ));
    }
    if let Some((path, bytes)) = &checked.unfinished {
        text.push_str(&format!(
            "{}: the last line is unfinished ({bytes} bytes): it is being written, or a crash tore it; the \
             next start sets it aside\n",
            path.display()
        ));
    }
    if !checked.has_head {
        text.push_str("there is no file `head`: whether lines were taken from the end cannot be told\n");
    }
    text
}

/// The lines of the journal in `directory`, or how the command ends without them.
pub(super) fn open(directory: &Path) -> Result<Reader, ExitCode> {
    let reader = Reader::open(directory).map_err(|error| fail(&error))?;
    if reader.finds_nothing() { Err(absent(directory)) } else { Ok(reader) }
}

fn absent(directory: &Path) -> ExitCode {
    fail(&format!("there is no journal in {}", directory.display()))
}

fn show(arguments: &ShowArguments, directory: &Path) -> ExitCode {
    let reader = match open(directory) {
        Ok(reader) => reader,
        Err(code) => return code,
    };
    let since = arguments.since.map_or(UnixMs(0), Since::time);
    let is_wanted = |line: &Line| {
        let incident = line.incident.as_ref().map(|incident| incident.0.as_str());
        line.at >= since && (arguments.incident.is_none() || arguments.incident.as_deref() == incident)
    };
    let mut code = ExitCode::SUCCESS;
    let mut shown = 0_u64;
    for item in reader {
        match item {
            Ok((_, line)) if is_wanted(&line) => {
                shown += 1;
                let text = if arguments.json { json_of(&line).to_string() } else { text_of(&line) };
                if let Err(ended) = print(&format!("{text}\n")) {
                    return ended.or(code);
                }
            }
            Ok(_) => {}
            // What follows is shown all the same: on a bad night some of it is better than nothing.
            Err(error) => code = fail(&error),
        }
    }
    if shown == 0 {
        complain(&format!("{} has no such lines", directory.display()));
    }
    code
}

fn text_of(line: &Line) -> String {
    let incident = line.incident.as_ref().map_or_else(|| "-".to_owned(), |incident| printable(&incident.0));
    format!("{}Z  #{}  {incident}  {}", utc(line.at), line.sequence, words_of(&line.logged))
}

impl Since {
    fn time(self) -> UnixMs {
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
        match self {
            Self::Time(at) => at,
            Self::AgeMs(age_ms) => UnixMs(now.saturating_sub(age_ms)),
        }
    }
}

fn since(text: &str) -> Result<Since, String> {
    let age = |unit: char| match unit {
        's' => Some(1_000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    };
    let unit_ms = text.chars().last().and_then(age);
    let count = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u64>().ok());
    if let (Some(unit_ms), Some(count)) = (unit_ms, count) {
        return Ok(Since::AgeMs(count.saturating_mul(unit_ms)));
    }
    let timestamp: Result<Timestamp, _> = text.parse();
    let at = timestamp.ok().and_then(|timestamp| u64::try_from(timestamp.as_millisecond()).ok());
    at.map(|at| Since::Time(UnixMs(at)))
        .ok_or_else(|| "give a time like 2026-03-04T05:06:07Z, or an age like 90s, 15m, 2h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_an_age() {
        for (text, expected) in [("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert!(matches!(since(text), Ok(Since::AgeMs(age)) if age == expected), "{text}");
        }
        let time = since("2026-03-04T05:06:07.089Z");
        assert!(matches!(time, Ok(Since::Time(UnixMs(1_772_600_767_089)))), "{time:?}");
        for bad in ["", "h", "-1h", "1.5h", "yesterday", "2026-03-04", "ü"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
