//! The sender of a question, as far as this host can tell.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

/// Names of users are looked for in so much of the list.
const MAX_USERS_BYTES: u64 = 1 << 20;
const USERS: &str = "/etc/passwd";

/// The sender of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A process on this host, through the Unix socket: its user, when the kernel says.
    Local(Option<u32>),
    /// A client that has shown the token.
    Remote(SocketAddr),
}

impl Caller {
    pub(super) fn of_socket(stream: &UnixStream) -> Self {
        Self::Local(rustix::net::sockopt::socket_peercred(stream).ok().map(|peer| peer.uid.as_raw()))
    }

    /// The caller for the journal, and with it the name that the caller gives itself.
    pub(super) fn who(&self, says: Option<&str>) -> String {
        let known = match self {
            Self::Local(None) => "an unknown user of this host".to_owned(),
            Self::Local(Some(uid)) => match user_name(*uid) {
                Some(name) => format!("uid {uid} ({name})"),
                None => format!("uid {uid}"),
            },
            Self::Remote(address) => format!("{} by token", address.ip().to_canonical()),
        };
        match says {
            Some(says) => format!("{known}, who says to be {says:?}"),
            None => known,
        }
    }
}

/// From the list of this host alone: an order does not wait for a directory service.
fn user_name(uid: u32) -> Option<String> {
    let mut users = String::new();
    File::open(USERS).ok()?.take(MAX_USERS_BYTES).read_to_string(&mut users).ok()?;
    name_in(&users, uid).map(str::to_owned)
}

fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        (number == uid && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_caller_is_named_by_the_kernel_and_may_add_a_name() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = rustix::process::getuid().as_raw();
        assert_eq!(Caller::of_socket(&one), Caller::Local(Some(own)));
        let who = Caller::Local(Some(4_000_000_000)).who(Some("ada"));
        assert_eq!(who, "uid 4000000000, who says to be \"ada\"");
        assert_eq!(Caller::Local(None).who(None), "an unknown user of this host");
    }

    #[test]
    fn a_remote_caller_is_an_address() {
        let caller = |address: &str| Caller::Remote(address.parse().unwrap()).who(None);
        assert_eq!(caller("10.0.0.7:4711"), "10.0.0.7 by token");
        assert_eq!(caller("[2001:db8::1]:4711"), "2001:db8::1 by token");
        assert_eq!(caller("[::ffff:10.0.0.7]:4711"), "10.0.0.7 by token");
    }

    #[test]
    fn names_are_found_in_a_list_of_users_that_may_be_broken() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7\nada:x:1000:1000::/:\n";
        assert_eq!((name_in(users, 0), name_in(users, 1000)), (Some("root"), Some("ada")));
        assert_eq!((name_in(users, 7), name_in(users, 8), name_in("", 0)), (None, None, None));
    }
}
