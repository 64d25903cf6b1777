//! Text that the host reads and writes: durations and sizes, and text of strangers made safe to print.

pub mod sanitize;
pub mod table;
pub mod units;
