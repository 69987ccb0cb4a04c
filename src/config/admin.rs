//! `[admin]`: where people on the host ask.

use std::path::PathBuf;

use super::problem::Findings;
use super::section::Section;
use super::state::StateConfig;

/// Set by systemd for `RuntimeDirectory=`.
const SYSTEMD_VARIABLE: &str = "RUNTIME_DIRECTORY";
const SOCKET_NAME: &str = "admin.sock";
/// `sockaddr_un` has 108 bytes for the path and its terminating zero.
const MAX_PATH_BYTES: usize = 107;

/// The admin socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Its path; `None` when nobody can ask.
    pub socket: Option<PathBuf>,
}

/// The socket that is named, or else one in the runtime directory, or else one in the state directory.
pub(super) fn read_admin(
    root: &mut Section<'_>,
    state: Option<&StateConfig>,
    environment: &[(String, String)],
    findings: &mut Findings,
) -> AdminConfig {
    let mut section = root.section("admin", findings);
    let named = section.text("socket", "/run/openclaw-rating/admin.sock", findings);
    section.finish(findings);
    if let Some(named) = &named
        && !(1..=MAX_PATH_BYTES).contains(&named.text.len())
    {
        let what = format!("the path of the admin socket has {} bytes", named.text.len());
        findings.wrong(named.place, what, format!("a socket's path has 1 to {MAX_PATH_BYTES} bytes"));
    }
    let of_systemd = environment.iter().find(|(name, _)| name == SYSTEMD_VARIABLE);
    let runtime = of_systemd.and_then(|(_, paths)| paths.split(':').next()).filter(|path| !path.is_empty());
    let socket = named
        .map(|text| PathBuf::from(text.text))
        .or_else(|| runtime.map(|directory| PathBuf::from(directory).join(SOCKET_NAME)))
        .or_else(|| state.map(|state| state.directory.join(SOCKET_NAME)))
        .filter(|path| path.as_os_str().len() <= MAX_PATH_BYTES);
    AdminConfig { socket }
}
