//! The streams that connections run over, and how each is broken off visibly.

use std::net::Shutdown;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::metered_stream::MeteredStream;

/// A stream whose closing can be made visible to a client that takes any end for the end of an answer.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Has the stream reset when it is dropped.
    fn reset(&self);
}

impl Transport for TcpStream {
    fn reset(&self) {
        // Without it the client sees an end, as it would of a whole answer: nothing better can be done.
        let _best_effort = socket2::SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Transport for UnixStream {
    fn reset(&self) {
        let _best_effort = socket2::SockRef::from(self).shutdown(Shutdown::Read);
    }
}

impl<S: Transport> Transport for MeteredStream<S> {
    fn reset(&self) {
        self.get_ref().reset();
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}
