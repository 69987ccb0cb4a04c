//! What the agent goes by: how regions and the public name look from here, what others see, and this
//! server's own figures.
//!
//! [`probe`](Probe) and [`Prober`] look, each thread at one URL, so that one that hangs delays no other.
//! `threshold` and [`OwnSignals`] are pure: when a figure becomes a signal, and when it is over.

mod own;
mod probe;
mod prober;
mod resolve;
mod threshold;
mod url;

pub use own::{OwnFigures, OwnLimits, OwnSignal, OwnSignals, SignalChange, TokenShare};
pub use probe::{Answer, Blind, Probe, Sight, Timings};
pub use prober::{Observation, Prober, ProberError, Watched};
pub use resolve::{ResolveError, Resolver};
pub use threshold::{Threshold, ThresholdLimits};
pub use url::{ProbeUrl, ProbeUrlError};

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why it is not known whom to trust.
#[derive(Debug, thiserror::Error)]
#[error("the CA file {path} cannot be used: {why}. It must hold `BEGIN CERTIFICATE` blocks (PEM)")]
pub struct TrustError {
    path: String,
    why: String,
}

/// Whom probes over TLS trust: the authorities in `ca_file`, or the built-in ones.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn trust(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let fail = |why: String| TrustError { path: path.display().to_string(), why };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(error.to_string()))? {
                let certificate = certificate.map_err(|error| fail(error.to_string()))?;
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fail("it holds no certificate".to_owned()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider supports all of them.
    let builder =
        builder.map_err(|error| TrustError { path: "(none)".to_owned(), why: error.to_string() })?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
