//! Parts of a connection that do not depend on its kind: the stream, TLS, the lingering close, the access log.

pub(super) mod access_log;
pub(super) mod stream;
pub(super) mod tls;
