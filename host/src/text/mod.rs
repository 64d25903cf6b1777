//! Text that the host reads and writes: authorities, durations and sizes, and text of strangers made safe to print.

pub mod authority;
pub mod sanitize;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod units;
