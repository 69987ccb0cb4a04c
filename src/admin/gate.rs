//! Who may ask from another host: bearer tokens, compared in constant time, read when they are used.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use tracing::error;

use super::answer::Refusal;
use super::route::{Access, Route};
use super::throttle::WrongTokens;
use crate::agent::secret::{Secret, SecretSource};
use crate::config::MIN_TOKEN_BYTES;
use crate::time::{Clock as _, SystemClock};

/// Wrong tokens whose answers are held back at the same time; others are answered 429 at once.
const MAX_HELD: usize = 8;
/// Longer credentials are none.
const MAX_CREDENTIALS_BYTES: usize = 4096;
const ADMIN_PLACE: &str = "the file that [admin] token_file names";
const WITNESS_PLACE: &str = "the file that [admin] witness_token_file names";
const ALERTMANAGER_PLACE: &str = "the file that [admin] alertmanager_token_file names";

/// Where the tokens are.
#[derive(Clone, Debug, Default)]
pub(super) struct Tokens {
    pub(super) admin: Option<SecretSource>,
    pub(super) witness: Option<SecretSource>,
    pub(super) alertmanager: Option<SecretSource>,
}

/// Lets callers in.
pub(super) struct Gate {
    tokens: Tokens,
    clock: SystemClock,
    /// Tokens are compared by their tags under this, so that neither their bytes nor their lengths show.
    key: hmac::Key,
    wrong: Mutex<WrongTokens>,
    held: AtomicUsize,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Gate {
    pub(super) fn new(tokens: Tokens, clock: SystemClock) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>());
        Self { tokens, clock, key, wrong: Mutex::default(), held: AtomicUsize::new(0) }
    }

    /// Whether who sent `authorization` may ask for `route`. A wrong token is answered late.
    ///
    /// # Errors
    /// When there is no right token, or it cannot be read here.
    pub(super) fn admit(&self, route: &Route, authorization: Option<&[u8]>) -> Result<(), Refusal> {
        let (own, place) = match route.access() {
            Access::Signed => return Ok(()),
            Access::Admin => (None, ADMIN_PLACE),
            Access::Witness => (self.tokens.witness.as_ref(), WITNESS_PLACE),
            Access::Alertmanager => (self.tokens.alertmanager.as_ref(), ALERTMANAGER_PLACE),
        };
        let place = if own.is_some() { place } else { ADMIN_PLACE };
        let Some(shown) = authorization.and_then(|value| shown_token(value, route.only_looks())) else {
            return Err(Refusal::Unauthorized(place));
        };
        let sources = [own, self.tokens.admin.as_ref()].into_iter().flatten();
        let (mut is_right, mut readable) = (false, 0);
        for token in sources.filter_map(read_token) {
            readable += 1;
            is_right |= self.is_same(&token, &shown);
        }
        match (is_right, readable) {
            (true, _) => Ok(()),
            (false, 0) => Err(Refusal::NoSecret),
            (false, _) => Err(self.hold_back(Refusal::Unauthorized(place))),
        }
    }

    fn is_same(&self, token: &Secret, shown: &[u8]) -> bool {
        let tag = hmac::sign(&self.key, shown);
        hmac::verify(&self.key, token.expose().as_bytes(), tag.as_ref()).is_ok()
    }

    /// Holds the answer to a wrong token or signature back: guessing is slow, and nobody is locked out.
    pub(super) fn hold_back(&self, refusal: Refusal) -> Refusal {
        if self.held.fetch_add(1, Ordering::Relaxed) >= MAX_HELD {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return Refusal::TooFast;
        }
        std::thread::sleep(self.next_wait());
        self.held.fetch_sub(1, Ordering::Relaxed);
        refusal
    }

    fn next_wait(&self) -> Duration {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).wait(self.clock.now())
    }
}

/// The token as it is in its file now. What is wrong with the file goes to the log, not to the client.
fn read_token(source: &SecretSource) -> Option<Secret> {
    match source.read() {
        Ok(token) if token.expose().len() >= MIN_TOKEN_BYTES => Some(token),
        Ok(_) => {
            error!("the token in {source} is shorter than {MIN_TOKEN_BYTES} bytes, so it lets nobody in");
            None
        }
        Err(error) => {
            error!("{error}. Until then it lets nobody in");
            None
        }
    }
}

/// The token of an `Authorization` field: of a bearer, or, where a browser may keep it (`only_looks`), the
/// password of the basic scheme.
fn shown_token(value: &[u8], only_looks: bool) -> Option<Vec<u8>> {
    if value.len() > MAX_CREDENTIALS_BYTES {
        return None;
    }
    let space = memchr::memchr(b' ', value)?;
    let (scheme, credentials) = (&value[..space], value[space + 1..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(credentials.to_vec());
    }
    if scheme.eq_ignore_ascii_case(b"basic") && only_looks {
        let decoded = STANDARD.decode(credentials).ok()?;
        let colon = memchr::memchr(b':', &decoded)?;
        return Some(decoded[colon + 1..].to_vec());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const ADMIN: &str = "the-admin-token-1";
    const WITNESS: &str = "the-witness-token";

    fn source(directory: &Path, name: &str, token: &str) -> SecretSource {
        let path = directory.join(name);
        std::fs::write(&path, token).unwrap();
        SecretSource::File(path)
    }

    fn gate(directory: &Path) -> Gate {
        let tokens = Tokens {
            admin: Some(source(directory, "admin", ADMIN)),
            witness: Some(source(directory, "witness", WITNESS)),
            alertmanager: None,
        };
        Gate::new(tokens, SystemClock::start())
    }

    fn admits(gate: &Gate, route: &Route, authorization: &str) -> bool {
        gate.admit(route, Some(authorization.as_bytes())).is_ok()
    }

    #[test]
    fn each_token_opens_what_is_its_own_and_the_admin_token_all() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path());
        let witness = Route::Witness { region: "eu".to_owned() };
        let (admin_bearer, witness_bearer) = (format!("Bearer {ADMIN}"), format!("bearer  {WITNESS} "));
        assert!(admits(&gate, &Route::Status, &admin_bearer) && admits(&gate, &witness, &admin_bearer));
        assert!(
            admits(&gate, &Route::Alertmanager, &admin_bearer) && admits(&gate, &witness, &witness_bearer)
        );
        assert!(!admits(&gate, &Route::Status, &witness_bearer));
        assert_eq!(gate.admit(&Route::PagerDuty, None), Ok(()));
        assert_eq!(gate.admit(&witness, None), Err(Refusal::Unauthorized(WITNESS_PLACE)));
        assert_eq!(gate.admit(&Route::Alertmanager, None), Err(Refusal::Unauthorized(ADMIN_PLACE)));
    }

    #[test]
    fn what_is_nearly_the_token_is_not_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path());
        let prefix = &ADMIN[..ADMIN.len() - 1];
        for wrong in [prefix.to_owned(), format!("{ADMIN}x"), String::new()] {
            assert!(!admits(&gate, &Route::Drain { on: true }, &format!("Bearer {wrong}")), "{wrong}");
        }
        for other in [ADMIN.to_owned(), format!("Token {ADMIN}"), "x".repeat(5000)] {
            let refused = gate.admit(&Route::Drain { on: true }, Some(other.as_bytes()));
            assert_eq!(refused, Err(Refusal::Unauthorized(ADMIN_PLACE)));
        }
    }

    #[test]
    fn a_browser_may_look_and_order_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path());
        let basic = format!("Basic {}", STANDARD.encode(format!("anybody:{ADMIN}")));
        assert!(admits(&gate, &Route::Page, &basic));
        assert!(!admits(&gate, &Route::Drain { on: true }, &basic) && !admits(&gate, &Route::Reload, &basic));
        assert!(!admits(&gate, &Route::Page, "Basic !!!"));
    }

    #[test]
    fn a_token_that_is_changed_counts_at_once_and_one_that_is_gone_or_short_lets_nobody_in() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path());
        let path = directory.path().join("admin");
        std::fs::write(&path, "another-token-of-some-length\n").unwrap();
        assert!(admits(&gate, &Route::Status, "Bearer another-token-of-some-length"));
        assert!(!admits(&gate, &Route::Status, &format!("Bearer {ADMIN}")));
        std::fs::write(&path, "short").unwrap();
        assert_eq!(gate.admit(&Route::Status, Some(b"Bearer short")), Err(Refusal::NoSecret));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(gate.admit(&Route::Status, Some(b"Bearer ")), Err(Refusal::NoSecret));
    }

    #[test]
    fn wrong_tokens_are_slow_and_do_not_keep_the_right_one_out() {
        let directory = tempfile::tempdir().unwrap();
        let gate = gate(directory.path());
        let wrong = || gate.admit(&Route::Status, Some(b"Bearer wrong"));
        let began = std::time::Instant::now();
        assert_eq!(wrong(), Err(Refusal::Unauthorized(ADMIN_PLACE)));
        assert!(began.elapsed() >= Duration::from_millis(100));
        std::thread::scope(|scope| {
            let guesses: Vec<_> = (0..MAX_HELD + 4).map(|_| scope.spawn(wrong)).collect();
            let began = std::time::Instant::now();
            assert!(admits(&gate, &Route::Status, &format!("Bearer {ADMIN}")));
            assert!(began.elapsed() < Duration::from_millis(100), "the right token waits for wrong ones");
            let refused: Vec<_> = guesses.into_iter().map(|guess| guess.join().unwrap()).collect();
            assert!(refused.contains(&Err(Refusal::TooFast)), "{refused:?}");
        });
    }
}
