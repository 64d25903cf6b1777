//! Which instance of a generation serves which request or connection, and which of them wait.

pub(super) mod job;
pub(super) mod pool;
#[cfg(test)]
mod tests;
