//! Limits that an administrator sets, by the errors of whoever runs into them.

use std::io;

use rustix::io::Errno;

/// What to do about a failure to open a file or to start a thread, with a separator before it; may be empty.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => {
            "; raise the limit of open files, RLIMIT_NOFILE (`ulimit -n`, systemd: LimitNOFILE=)"
        }
        Some(Errno::AGAIN) => {
            "; raise the limit of threads, RLIMIT_NPROC (`ulimit -u`, systemd: LimitNPROC= and TasksMax=)"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_settings() {
        assert!(remedy(&Errno::MFILE.into()).contains("LimitNOFILE="));
        assert!(remedy(&Errno::AGAIN.into()).contains("TasksMax="));
        assert_eq!(remedy(&Errno::IO.into()), "");
    }
}
