//! Text that the host reads and writes: durations and sizes, and text of strangers made safe to print. Knows no other part of
//! the host.

pub mod sanitize;
pub mod table;
pub mod units;
