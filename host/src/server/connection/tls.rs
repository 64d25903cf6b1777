//! TLS for an address: its certificate and key, what is spoken over it, and the handshake.
//!
//! Invariant: reading a certificate cannot block: a path that is no regular file is refused.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nix::libc::O_NONBLOCK;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::stream::{STRAGGLE, Transport};
use crate::plan::TlsPlan;

/// No chain of certificates is larger.
const LARGEST: u64 = 1 << 20;

/// Fault of a certificate or a key.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    /// The reason, and the remedy.
    pub what: String,
    /// True if the file could not be read at all.
    pub unreadable: bool,
}

/// Returns the acceptor with this certificate and an offer of these protocols.
///
/// # Errors
/// When a file cannot be read, has no PEM of its kind in it, or the two do not belong together.
pub(crate) fn tls_acceptor(plan: &TlsPlan, alpn: &[&[u8]]) -> Result<TlsAcceptor, TlsError> {
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&plan.cert)?).collect();
    let certs = certs.map_err(|error| wrong(&plan.cert, format!("it is no PEM file: {error}")))?;
    if certs.is_empty() {
        return Err(wrong(&plan.cert, "there is no certificate in it (`-----BEGIN CERTIFICATE-----`)"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&plan.key)?)
        .map_err(|error| wrong(&plan.key, format!("there is no private key in it: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&plan.cert, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(|error| format!("it cannot be used with the key in {}: {error}", plan.key.display()))
        .map_err(|what| wrong(&plan.cert, what))?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Reads a file. The event loop waits for it, so it must not be a pipe without a writer.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable =
        |error: io::Error| TlsError { unreadable: true, ..wrong(path, format!("cannot be read: {error}")) };
    let file = File::options().read(true).custom_flags(O_NONBLOCK).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(wrong(path, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(wrong(path, format!("it has more than {} MiB", LARGEST >> 20))),
        false => Ok(bytes),
    }
}

fn wrong(path: &Path, what: impl Into<String>) -> TlsError {
    TlsError { path: path.to_owned(), what: what.into(), unreadable: false }
}

/// Shakes hands within `limit`. `drains` returns when the address drains: true if the client has a little time left then.
pub(crate) async fn shake_hands<S: Transport>(
    tls: &TlsAcceptor,
    stream: S,
    limit: Duration,
    drains: impl Future<Output = bool>,
) -> Option<TlsStream<S>> {
    let mut greeting = pin!(timeout(limit, tls.accept(stream)));
    tokio::select! {
        biased;
        greeted = &mut greeting => greeted.ok()?.ok(),
        has_time = drains => match has_time {
            true => timeout(STRAGGLE, greeting).await.ok()?.ok()?.ok(),
            false => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        let huge = File::create(at("huge")).unwrap();
        huge.set_len(LARGEST + 1).unwrap();
        for (name, expected) in [
            ("pipe", "it is not a regular file"),
            ("", "it is not a regular file"),
            ("huge", "it has more than 1 MiB"),
        ] {
            let error = read(&at(name)).unwrap_err();
            assert!(error.what == expected && !error.unreadable, "{error}");
        }
        assert!(read(&at("none")).unwrap_err().unreadable);
        std::fs::write(at("cert"), "PEM").unwrap();
        assert_eq!(read(&at("cert")).unwrap(), b"PEM");
    }
}
