//! Printing the result of a command.

use curfew_host::output::{Channel, Output};

pub(crate) fn print(output: &Output, channel: Channel, text: &str) {
    output.host(channel).push(text.as_bytes().to_vec());
}
