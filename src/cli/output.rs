//! What commands say: to readers that may have gone, and to disks that may be full.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// Why no more of an output can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Who read it has seen enough: `| head`.
    NobodyReads,
    /// It is lost, which standard error says.
    Lost,
}

impl Ended {
    /// How the command ends that would have ended with `code`.
    pub(super) const fn or(self, code: ExitCode) -> ExitCode {
        match self {
            Self::NobodyReads => code,
            Self::Lost => ExitCode::FAILURE,
        }
    }
}

/// Writes `text` to standard output, all of it before this returns.
pub(super) fn print(text: &str) -> Result<(), Ended> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(output: &mut impl Write, text: &str) -> Result<(), Ended> {
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Ended::NobodyReads,
        _ => {
            complain(&format!("cannot write the output: {error}"));
            Ended::Lost
        }
    })
}

/// Prints `text`; `code` is how the command ends if that works.
pub(super) fn end_with(text: &str, code: ExitCode) -> ExitCode {
    print(text).map_or_else(|ended| ended.or(code), |()| code)
}

/// Writes a line to standard error. When that cannot be written, the exit code is all there is left to say.
pub(super) fn complain(what: &impl Display) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Says what went wrong.
pub(super) fn fail(error: &impl Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure_and_a_full_disk_is_one() {
        assert_eq!(print_to(&mut Vec::new(), "a"), Ok(()));
        assert_eq!(print_to(&mut Refusing(ErrorKind::BrokenPipe), "a"), Err(Ended::NobodyReads));
        assert_eq!(print_to(&mut Refusing(ErrorKind::StorageFull), "a"), Err(Ended::Lost));
    }
}
