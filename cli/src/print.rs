//! How a command prints what it was asked for.

use curfew_host::output::{Channel, Output};

/// Writes text as it is.
pub fn print(output: &Output, channel: Channel, text: &str) {
    output.host(channel).push(text.as_bytes().to_vec());
}
