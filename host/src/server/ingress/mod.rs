//! All addresses of an app, and the generations on them: how generations are prepared, take over and are forgotten.

pub(super) mod assignment;
pub(super) mod ingress;
#[cfg(test)]
mod tests;
