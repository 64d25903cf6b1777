//! Parts of a connection that do not depend on its kind: the stream, its client's pace, TLS, the lingering close, when it is idle,
//! the access log.

pub(super) mod access_log;
mod frames;
pub(super) mod idleness;
pub(super) mod pace;
pub(super) mod round_trip;
pub(super) mod stream;
pub(super) mod tls;
