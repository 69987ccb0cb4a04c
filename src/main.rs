//! The `openclaw-rating` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    openclaw_rating::cli::run()
}
