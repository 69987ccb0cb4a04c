//! What was found, and how it is shown.

use std::fmt;

use serde::Serialize;

use crate::counted::counted;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing to do.
    Ok,
    /// The server runs, and would run better or safer.
    Warn,
    /// The server does not start so, or starts without a part that it is asked for.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What is so.
    pub(super) found: String,
    /// Why it matters.
    pub(super) meaning: &'static str,
    /// What to do; nothing when all is well.
    pub(super) remedy: Option<String>,
}

/// What is looked at, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
}

impl Check {
    pub(super) fn ok(self, found: impl Into<String>) -> Finding {
        self.finding(Level::Ok, found.into(), None)
    }

    pub(super) fn warn(self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Warn, found.into(), Some(remedy.into()))
    }

    pub(super) fn fail(self, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Fail, found.into(), Some(remedy.into()))
    }

    fn finding(self, level: Level, found: String, remedy: Option<String>) -> Finding {
        Finding { check: self.name, level, found, meaning: self.meaning, remedy }
    }
}

/// All that was found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// Whether something keeps the server, or a part of it, from its work.
    pub(super) fn has_failed(&self) -> bool {
        self.count(Level::Fail) > 0
    }

    pub(super) fn json(&self) -> String {
        serde_json::json!({
            "ok": !self.has_failed(),
            "warnings": self.count(Level::Warn),
            "failures": self.count(Level::Fail),
            "findings": self.findings,
        })
        .to_string()
    }

    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            write!(f, "{finding}")?;
        }
        let failures = counted(self.count(Level::Fail), "failure", "failures");
        let warnings = counted(self.count(Level::Warn), "warning", "warnings");
        writeln!(f, "\n{failures}, {warnings}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, level, found, meaning, remedy } = self;
        let level = match level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        writeln!(f, "{level:<5} {check:<14} {found}")?;
        match remedy {
            Some(remedy) => writeln!(f, "{:21}why: {meaning}\n{:21}do:  {remedy}", "", ""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Check = Check { name: "kernel", meaning: "it matters" };

    #[test]
    fn what_is_not_well_says_what_it_means_and_what_to_do() {
        let report = Report { findings: vec![CHECK.ok("new"), CHECK.warn("older", "update it")] };
        let text = report.to_string();
        assert!(text.starts_with("ok    kernel         new\nwarn  kernel         older\n"), "{text}");
        assert!(text.contains("why: it matters\n") && text.contains("do:  update it\n"), "{text}");
        assert!(text.ends_with("\n0 failures, 1 warning\n"), "{text}");
    }

    #[test]
    fn programs_see_the_same_and_only_a_failure_fails() {
        let mut report = Report { findings: vec![CHECK.ok("a"), CHECK.warn("b", "c")] };
        assert!(!report.has_failed());
        report.findings.push(CHECK.fail("d", "e"));
        assert!(report.has_failed());
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            (&json["ok"], &json["warnings"], &json["failures"]),
            (&false.into(), &1.into(), &1.into())
        );
        let last = &json["findings"][2];
        assert_eq!((&last["level"], &last["check"]), (&"fail".into(), &"kernel".into()));
        assert_eq!((&last["found"], &last["remedy"]), (&"d".into(), &"e".into()));
        assert!(json["findings"][0]["remedy"].is_null());
    }
}
