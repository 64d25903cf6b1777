//! Whom TLS trusts when guests send requests: the system's root certificates, or those that `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name. Invariant: they are read once in a process, and only when the first `https` request is sent.

use std::sync::{Arc, OnceLock};

use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

/// The TLS side of a client.
#[derive(Clone, Debug, Default)]
pub(super) enum Tls {
    /// Trusts the system's root certificates.
    #[default]
    System,
    /// Trusts what this says.
    #[cfg(test)]
    Given(Arc<ClientConfig>),
}

impl Tls {
    /// Returns what a handshake needs. Reads files the first time.
    ///
    /// # Errors
    /// When there are no root certificates, with the reason.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, &'static str> {
        static SYSTEM: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
        match self {
            Self::System => SYSTEM.get_or_init(system).as_ref().map(Arc::clone).map_err(String::as_str),
            #[cfg(test)]
            Self::Given(config) => Ok(config.clone()),
        }
    }
}

fn system() -> Result<Arc<ClientConfig>, String> {
    let loaded = builder()
        .map_err(|error| error.to_string())
        .and_then(|builder| builder.with_native_roots().map_err(|error| error.to_string()));
    match loaded {
        Ok(builder) => Ok(Arc::new(offer_protocols(builder.with_no_client_auth()))),
        Err(error) => {
            let hint = "install the system's ca-certificates, or set SSL_CERT_FILE";
            tracing::error!(error, hint, "no root certificates: guests cannot send https requests");
            Err(error)
        }
    }
}

/// Names the crypto provider: a build with another one beside it would have no default.
pub(super) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
}

/// Makes the handshake choose between HTTP/2 and HTTP/1.1.
pub(super) fn offer_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
