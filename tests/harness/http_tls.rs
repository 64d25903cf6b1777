//! A certificate for one test, and the client side of it.

use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Host;

/// Who trusts the certificate of one test.
#[derive(Clone, Debug)]
pub struct Trust {
    certificate: CertificateDer<'static>,
}

impl Trust {
    /// Makes a certificate for 127.0.0.1 and localhost, and writes `cert.pem` and `key.pem` beside the manifest.
    pub fn install(host: Host) -> (Host, Trust) {
        let names = vec!["localhost".to_string(), "127.0.0.1".to_string()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let host = host.file("cert.pem", made.cert.pem()).file("key.pem", made.signing_key.serialize_pem());
        (host, Trust { certificate: made.cert.der().clone() })
    }

    pub fn config(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// The handshake, to its end. The protocol that was agreed on is in the connection.
    #[track_caller]
    pub fn handshake(
        &self,
        mut tcp: TcpStream,
        protocols: &[&str],
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(self.config(protocols), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).unwrap_or_else(|error| panic!("the handshake: {error}"));
        }
        StreamOwned::new(connection, tcp)
    }
}
