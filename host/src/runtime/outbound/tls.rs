//! The certificates that TLS trusts when guests send requests: the system's, or those that `SSL_CERT_FILE` and
//! `SSL_CERT_DIR` name. Invariant: a process reads them once, when the first `https` request is sent.

use std::sync::{Arc, OnceLock};

use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

#[derive(Clone, Debug, Default)]
pub(super) enum Tls {
    #[default]
    System,
    #[cfg(test)]
    Given(Arc<ClientConfig>),
}

impl Tls {
    /// Returns the configuration of a handshake. Reads files the first time.
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

pub(super) fn offer_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
