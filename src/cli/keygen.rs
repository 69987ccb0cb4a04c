//! `keygen`: a secret for a cluster.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::output::{end_with, fail};
use crate::hex;

#[derive(Debug, Args)]
pub(super) struct KeygenArguments {
    /// The file to make, readable by its owner only; standard output when there is none
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &KeygenArguments) -> ExitCode {
    let secret: [u8; 32] = rand::random();
    let text = hex::encode(&secret) + "\n";
    let Some(path) = &arguments.file else {
        return end_with(&text, ExitCode::SUCCESS);
    };
    match write_new(path, &text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fail(&format!("{} is there already, and is left as it is", path.display()))
        }
        Err(error) => fail(&format!("cannot write {}: {error}", path.display())),
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a secret is none, and would be in the way of the next try.
        let _ = fs::remove_file(path);
    })
}
