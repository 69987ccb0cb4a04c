//! Limits that an administrator sets: raised as far as they may be, and named in the errors they cause.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

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

/// Allows as many open files as the administrator does, since the usual soft limit of 1,024 is for `select`, and as
/// much locked memory.
pub(crate) fn raise_limits() {
    for (resource, name) in [(Resource::Nofile, "open files"), (Resource::Memlock, "locked memory")] {
        let Rlimit { current, maximum } = getrlimit(resource);
        if current != maximum
            && let Err(error) = setrlimit(resource, Rlimit { current: maximum, maximum })
        {
            // The ring says so when what there is does not do.
            warn!("cannot raise the limit of {name}: {error}");
        }
    }
}

/// Files that may be open once limits are raised; `None` without a limit.
pub(crate) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// Bytes that may be locked in memory, by all processes of the user; `None` without a limit.
pub(crate) fn lockable() -> Option<u64> {
    getrlimit(Resource::Memlock).current
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
