//! The region in a checkout, by real `git`.

use std::time::Duration;

use openclaw_rating::agent::gitops::{Checkout, Committed, GitError, Push};
use tempfile::TempDir;

use crate::common::support::{HELM_VALUES, assert_says, git, is_there, repository};

fn checkout(directory: &TempDir, push: bool) -> Checkout {
    Checkout {
        directory: directory.path().join("checkout"),
        file: "values.yaml".into(),
        key: "global.region".to_owned(),
        author: ("Agent".to_owned(), "agent@example.com".to_owned()),
        push: push.then(|| Push { remote: "origin".to_owned(), branch: "main".to_owned() }),
        timeout: Duration::from_secs(10),
    }
}

#[test]
fn one_line_is_committed_and_pushed_and_nothing_else() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let target = checkout(&directory, true);
    std::fs::write(target.directory.join("other"), "staged by someone").unwrap();
    git(&target.directory, &["add", "other"]);
    assert_eq!(target.commit("eu", "us", "move to us").unwrap(), Committed::Changed);
    let origin = directory.path().join("origin");
    assert_eq!(git(&origin, &["show", "main:values.yaml"]), HELM_VALUES.replace("eu  #", "us  #"));
    assert_eq!(
        git(&origin, &["log", "-1", "--format=%an <%ae> %s", "main"]).trim(),
        "Agent <agent@example.com> move to us"
    );
    assert_eq!(git(&origin, &["show", "--name-only", "--format=", "main"]).trim(), "values.yaml");
    assert_eq!(git(&target.directory, &["status", "--porcelain"]).trim(), "A  other");
    assert_eq!(target.commit("eu", "us", "again").unwrap(), Committed::AlreadyThere);
    let plan = target.plan("eu", "us", "move it").join("\n");
    assert_says(
        &plan,
        &[
            "git status",
            "`global.region`",
            "from eu to us",
            "commit --quiet --only -m 'move it' -- values.yaml",
        ],
    );
    assert_says(&plan, &["git push --quiet origin HEAD:refs/heads/main"]);
}

#[test]
fn a_commit_that_was_not_pushed_is_pushed_by_the_next_run() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    checkout(&directory, false).commit("eu", "us", "move").unwrap();
    let origin = directory.path().join("origin");
    assert_eq!(git(&origin, &["show", "main:values.yaml"]), HELM_VALUES);
    assert_eq!(checkout(&directory, true).commit("eu", "us", "move").unwrap(), Committed::AlreadyThere);
    assert_ne!(git(&origin, &["show", "main:values.yaml"]), HELM_VALUES);
}

#[test]
fn an_edit_that_was_not_committed_before_a_crash_is_committed_by_the_next_run() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let target = checkout(&directory, true);
    let edited = HELM_VALUES.replace("eu  #", "us  #");
    let path = target.directory.join("values.yaml");
    std::fs::write(&path, format!("{edited}# mine\n")).unwrap();
    let mixed = target.commit("us", "us", "move").unwrap_err();
    assert!(matches!(mixed, GitError::Dirty { .. }), "{mixed}");
    std::fs::write(&path, &edited).unwrap();
    let stopped = target.commit_while(&|| Err("frozen".to_owned()), "us", "us", "move").unwrap_err();
    assert_says(&stopped.to_string(), &["nothing was committed", "frozen"]);
    assert_eq!(target.commit("us", "us", "move").unwrap(), Committed::Changed);
    assert_eq!(git(&directory.path().join("origin"), &["show", "main:values.yaml"]), edited);
}

#[test]
fn a_stop_holds_before_the_commit_and_before_the_push() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let target = checkout(&directory, true);
    let origin = directory.path().join("origin");
    let commits = |at: &std::path::Path, of: &str| git(at, &["rev-list", "--count", of]).trim().to_owned();
    let before = commits(&origin, "main");
    for (allowed, says) in [(0, "nothing was committed"), (1, "was not pushed")] {
        let asked = std::cell::Cell::new(0);
        let may_go_on = || {
            asked.set(asked.get() + 1);
            if asked.get() > allowed { Err("frozen".to_owned()) } else { Ok(()) }
        };
        let error = target.commit_while(&may_go_on, "eu", "us", "move").unwrap_err();
        assert_says(&error.to_string(), &[says, "frozen"]);
        assert_eq!(commits(&origin, "main"), before);
        let is_committed = commits(&target.directory, "HEAD") != before;
        assert_eq!(is_committed, allowed == 1);
    }
}

#[test]
fn someone_elses_work_is_left_alone() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let target = checkout(&directory, false);
    let conflict = target.commit("ap", "us", "move").unwrap_err();
    assert!(matches!(conflict, GitError::Conflict { .. }));
    assert_says(&conflict.to_string(), &["says eu where ap", "by hand"]);
    let path = target.directory.join("values.yaml");
    std::fs::write(&path, HELM_VALUES.replace("3", "4")).unwrap();
    assert_says(&target.commit("eu", "us", "move").unwrap_err().to_string(), &["not committed", "discard"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), HELM_VALUES.replace("3", "4"));
}

#[test]
fn a_refused_commit_puts_the_file_back_and_a_refused_push_says_what_is_left() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let target = checkout(&directory, true);
    let hook = target.directory.join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho not on fridays >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let error = target.commit("eu", "us", "move").unwrap_err();
    assert_says(&error.to_string(), &["not on fridays", "put back"]);
    assert_eq!(std::fs::read_to_string(target.directory.join("values.yaml")).unwrap(), HELM_VALUES);
    std::fs::remove_file(hook).unwrap();
    std::fs::rename(directory.path().join("origin"), directory.path().join("gone")).unwrap();
    let error = target.commit("eu", "us", "move").unwrap_err();
    assert_says(&error.to_string(), &["not pushed", "push by hand"]);
}

#[test]
fn a_file_that_is_not_there_or_leads_outside_is_named() {
    if !is_there("git") {
        return;
    }
    let directory = repository();
    let mut target = checkout(&directory, false);
    std::fs::write(directory.path().join("outside.yaml"), HELM_VALUES).unwrap();
    for (file, says) in [
        ("missing.yaml", "cannot use missing.yaml"),
        ("../outside.yaml", "not a path inside"),
        ("/etc/hosts", "not a path inside"),
    ] {
        target.file = file.into();
        assert_says(&target.commit("eu", "us", "move").unwrap_err().to_string(), &[says]);
    }
    std::os::unix::fs::symlink("../outside.yaml", target.directory.join("link.yaml")).unwrap();
    target.file = "link.yaml".into();
    assert!(matches!(target.commit("eu", "us", "move"), Err(GitError::Outside { .. })));
    target.file = "values.yaml".into();
    target.key = "global.place".to_owned();
    assert_says(
        &target.commit("eu", "us", "move").unwrap_err().to_string(),
        &["values.yaml", "no key `global.place`"],
    );
    target.key = "global.region".to_owned();
    std::fs::remove_dir_all(target.directory.join(".git")).unwrap();
    assert_says(&target.commit("eu", "us", "move").unwrap_err().to_string(), &["git checkout"]);
}
