//! `[admin]`: where people and other programs ask, and what they must show.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{as_ipv4, check_own, collide};
use super::problem::Findings;
use super::secret::{secret, secret_credential, secret_file};
use super::section::{Section, Text};
use super::state::StateConfig;
use super::value::Kind;
use crate::agent::secret::SecretSource;
use crate::bind::MAX_SOCKET_PATH_BYTES;
use crate::data_plane::ListenAddr;

/// Set by systemd for `RuntimeDirectory=`.
const SYSTEMD_VARIABLE: &str = "RUNTIME_DIRECTORY";
/// A shorter token could be guessed.
pub(crate) const MIN_TOKEN_BYTES: usize = 16;
const SOCKET_NAME: &str = "admin.sock";
/// PagerDuty signs by each secret of a rotation.
const MAX_PAGERDUTY_SECRETS: usize = 8;
const TOKEN_HELP: &str = "write token_file = \"/etc/openclaw-rating/admin.token\", and a token into that \
    file: openssl rand -hex 32 > /etc/openclaw-rating/admin.token";

/// The admin listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// The path of the Unix socket; `None` when nobody can ask there.
    pub socket: Option<PathBuf>,
    /// The TCP address; never without a token.
    pub listen: Option<SocketAddr>,
    /// What opens all of TCP.
    pub token: Option<SecretSource>,
    /// What opens `/v1/witness` only.
    pub witness_token: Option<SecretSource>,
    /// What opens `/webhooks/alertmanager` only.
    pub alertmanager_token: Option<SecretSource>,
    /// What PagerDuty signs its webhooks by, one of them at least.
    pub pagerduty_secrets: Vec<SecretSource>,
    /// A proxy in front of the TCP address speaks TLS.
    pub behind_tls: bool,
}

impl AdminConfig {
    /// What somebody should look at, though the settings can be served. Reads the secrets.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let exposed =
            self.listen.filter(|listen| !listen.ip().to_canonical().is_loopback() && !self.behind_tls);
        let exposed = exposed.map(|listen| {
            format!(
                "[admin] listens on {listen}, where the token crosses the network in the clear: listen on a \
                 loopback address behind a proxy that speaks TLS, or say behind_tls = true if there is one"
            )
        });
        let tokens = [&self.token, &self.witness_token, &self.alertmanager_token].into_iter().flatten();
        let tokens = tokens.filter_map(|token| match token.read() {
            Err(error) => Some(error.to_string()),
            Ok(secret) if secret.expose().len() < MIN_TOKEN_BYTES => Some(format!(
                "the token in {token} lets nobody in: it has fewer than {MIN_TOKEN_BYTES} bytes"
            )),
            Ok(_) => None,
        });
        let secrets = self.pagerduty_secrets.iter().filter_map(|secret| secret.read().err());
        exposed.into_iter().chain(tokens).chain(secrets.map(|error| error.to_string())).collect()
    }
}

/// What other parts of the configuration say that matters here.
pub(super) struct Around<'a> {
    /// Where checks are asked for.
    pub(super) listen: &'a [ListenAddr],
    pub(super) state: Option<&'a StateConfig>,
    pub(super) environment: &'a [(String, String)],
}

/// The socket that is named, or else one in the runtime directory, or else one in the state directory; and
/// what is named of the rest.
pub(super) fn read_admin(root: &mut Section<'_>, around: &Around<'_>) -> AdminConfig {
    let Around { listen: taken, state, environment } = *around;
    let mut section = root.section("admin");
    let named = read_path(&mut section, taken);
    let listen = read_listen(&mut section, taken);
    let token = secret(&mut section, ["token_file", "token_credential"]);
    let witness = secret(&mut section, ["witness_token_file", "witness_token_credential"]);
    let alertmanager = secret(&mut section, ["alertmanager_token_file", "alertmanager_token_credential"]);
    let pagerduty_secrets = read_pagerduty_secrets(&mut section);
    let behind_tls = section.boolean("behind_tls").unwrap_or(false);
    check_together(&mut section, listen.is_some());
    section.finish();
    let of_systemd = environment.iter().find(|(name, _)| name == SYSTEMD_VARIABLE);
    let runtime = of_systemd.and_then(|(_, paths)| paths.split(':').next()).filter(|path| !path.is_empty());
    let socket = named
        .or_else(|| runtime.map(|directory| PathBuf::from(directory).join(SOCKET_NAME)))
        .or_else(|| state.map(|state| state.directory.join(SOCKET_NAME)))
        .filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES);
    AdminConfig {
        socket,
        listen,
        token,
        witness_token: witness,
        alertmanager_token: alertmanager,
        pagerduty_secrets,
        behind_tls,
    }
}

fn read_path(section: &mut Section<'_>, taken: &[ListenAddr]) -> Option<PathBuf> {
    let findings = section.findings();
    let Text { text, place } = section.text("socket", "/run/openclaw-rating/admin.sock")?;
    if !(1..=MAX_SOCKET_PATH_BYTES).contains(&text.len()) {
        let what = format!("the path of the admin socket has {} bytes", text.len());
        findings.wrong(place, what, format!("a socket's path has 1 to {MAX_SOCKET_PATH_BYTES} bytes"));
    }
    let path = PathBuf::from(text);
    if taken.iter().any(|listen| collide(listen, &ListenAddr::Unix(path.clone()))) {
        let what = format!("[admin] has the socket {text:?} where [server] listens for checks");
        findings.wrong(place, what, "choose another path for one of them");
    }
    Some(path)
}

fn read_listen(section: &mut Section<'_>, taken: &[ListenAddr]) -> Option<SocketAddr> {
    let findings = section.findings();
    let Text { text, place } = section.text("listen", "127.0.0.1:9090")?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        let help = "write an IP address and a port, \"127.0.0.1:9090\" or \"[::1]:9090\"; host names are not \
            looked up";
        findings.wrong(place, format!("{text:?} is not an address for the admin listener"), help);
        return None;
    };
    let address = as_ipv4(address);
    check_own(address, place, findings);
    if taken.iter().any(|listen| collide(listen, &ListenAddr::Tcp(address))) {
        let what = format!("[admin] listens on {address}, where [server] listens for checks");
        findings.wrong(place, what, "choose another port for one of them");
    }
    Some(address)
}

/// Reports a listener that anybody could use, and settings that nothing uses.
fn check_together(section: &mut Section<'_>, listens: bool) {
    let findings = section.findings();
    let has_token = ["token_file", "token_credential"].iter().any(|key| section.get(key).is_some());
    if let Some(listen) = section.get("listen")
        && !has_token
    {
        let what = "[admin] listens on TCP without a token: whoever reaches it could move traffic";
        findings.wrong(listen.place, what, TOKEN_HELP);
    }
    let for_tcp = [
        "token_file",
        "token_credential",
        "witness_token_file",
        "witness_token_credential",
        "alertmanager_token_file",
        "alertmanager_token_credential",
        "behind_tls",
    ];
    if listens || section.get("listen").is_some() {
        return;
    }
    for key in for_tcp {
        if let Some(value) = section.get(key) {
            let what = format!("`{key}` in [admin] is for TCP, and [admin] has no `listen`");
            findings.wrong(value.place, what, "write listen = \"127.0.0.1:9090\" too, or remove it");
        }
    }
}

/// Files and credentials: during a rotation there are several secrets.
fn read_pagerduty_secrets(section: &mut Section<'_>) -> Vec<SecretSource> {
    type Reader = fn(Text<'_>, &Findings) -> Option<SecretSource>;
    let kinds: [(&'static str, &str, Reader); 2] = [
        (
            "pagerduty_secret_files",
            "write pagerduty_secret_files = [\"/etc/openclaw-rating/pagerduty.secret\"]",
            secret_file,
        ),
        (
            "pagerduty_secret_credentials",
            "write pagerduty_secret_credentials = [\"pagerduty\"]",
            secret_credential,
        ),
    ];
    let findings = section.findings();
    let mut secrets = Vec::new();
    for (key, help, read) in kinds {
        for item in section.array(key, MAX_PAGERDUTY_SECRETS, help) {
            let Kind::Text(text) = &item.kind else {
                let what = format!("`{key}` in [admin] must hold texts in quotes, not {}", item.described());
                findings.wrong(item.place, what, help);
                continue;
            };
            secrets.extend(read(Text { text, place: item.place }, findings));
        }
    }
    secrets
}
