//! Why there is no ring, in words that say what to do.

use std::io;

use rustix::io::Errno;

/// Where a server is told how many connections it may have, and the load generator.
const FEWER_CONNECTIONS: &str = "lower [server] max_connections, or --connections of `load`";

/// Why a ring could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel was built without it, or is from before it; or a container says so of a call that it forbids.
    #[error(
        "there is no io_uring here. Linux 6.1 or newer with CONFIG_IO_URING is needed; where `uname -r` says \
         that it is, a container hides it: its seccomp profile must allow io_uring_setup, io_uring_enter \
         and io_uring_register"
    )]
    Absent,
    /// Switched off, or filtered.
    #[error(
        "io_uring is forbidden here. If `sysctl kernel.io_uring_disabled` is not 0, set it to 0 (or to 1, \
         and run as a member of kernel.io_uring_group). In a container the seccomp profile must allow \
         io_uring_setup, io_uring_enter and io_uring_register; so must SystemCallFilter= of a systemd unit"
    )]
    Forbidden,
    /// An older kernel.
    #[error(
        "this kernel's io_uring is too old (no SINGLE_ISSUER with DEFER_TASKRUN); Linux 6.1 or newer is \
         needed"
    )]
    TooOld,
    /// An operation is not there.
    #[error("this kernel's io_uring has no {0} operation; Linux 6.1 or newer is needed")]
    MissingOperation(&'static str),
    /// Not enough memory, most often locked memory.
    #[error(
        "the kernel has no memory for io_uring ({0}): raise the locked-memory limit (`ulimit -l`, systemd: \
         LimitMEMLOCK=64M), or have fewer threads and connections: {FEWER_CONNECTIONS}"
    )]
    NoMemory(io::Error),
    /// The table of direct descriptors is larger than the limit of open files.
    #[error(
        "the ring cannot hold {files} connections ({source}): raise the limit of open files (`ulimit -n`, \
         systemd: LimitNOFILE=) above that, or have fewer: {FEWER_CONNECTIONS}"
    )]
    Files {
        /// Places asked for.
        files: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("io_uring: {0}{hint}", hint = crate::limits::remedy(.0))]
    Other(io::Error),
}

impl RingError {
    pub(super) fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSYS) => Self::Absent,
            Some(Errno::PERM | Errno::ACCESS) => Self::Forbidden,
            Some(Errno::INVAL) => Self::TooOld,
            Some(Errno::NOMEM) => Self::NoMemory(error),
            _ => Self::Other(error),
        }
    }

    /// There is a ring already, so a call that is not there has been filtered out.
    pub(super) fn from_enter(error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSYS) => Self::Forbidden,
            _ => Self::from_setup(error),
        }
    }

    pub(super) fn from_files(source: io::Error, files: u32) -> Self {
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => Self::Files { files, source },
            _ => Self::from_setup(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_remedy() {
        let text = |errno: Errno| RingError::from_setup(errno.into()).to_string();
        let absent = text(Errno::NOSYS);
        assert!(
            absent.contains("Linux 6.1") && absent.contains("seccomp") && absent.contains("io_uring_setup")
        );
        assert!(text(Errno::PERM).contains("kernel.io_uring_disabled"));
        assert!(text(Errno::INVAL).contains("Linux 6.1"));
        assert!(text(Errno::NOMEM).contains("LimitMEMLOCK") && text(Errno::NOMEM).contains("--connections"));
        assert!(text(Errno::MFILE).contains("RLIMIT_NOFILE"));
        for errno in [Errno::NOSYS, Errno::PERM] {
            assert!(RingError::from_enter(errno.into()).to_string().contains("io_uring_enter"));
        }
        let files = RingError::from_files(Errno::MFILE.into(), 7).to_string();
        assert!(files.contains("ulimit -n") && files.contains('7'));
        assert!(files.contains("max_connections") && files.contains("--connections"), "{files}");
    }
}
