//! All addresses of an app, and the generations on them: how generations are prepared, take over and are forgotten.

pub(super) mod assignment;
pub(super) mod ingress;
pub(super) mod protocols;
#[cfg(test)]
mod tests;
pub(super) mod thread;
