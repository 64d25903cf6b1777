//! Messages to systemd (readiness, reloads, stops, life signs), and listening sockets from it. Nothing here ever waits. Guests
//! see none of it: their environment comes from the manifest alone.

pub mod activation;
mod notify;

pub(crate) use activation::take;
pub(crate) use notify::Notifier;
