//! Writing the result of a command: to a stream, or to a file.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;

use crate::error::CliError;
use curfew_host::output::{Channel, Output};

pub(crate) fn print(output: &Output, channel: Channel, text: &str) {
    output.host(channel).push(text.as_bytes().to_vec());
}

/// Opens a file before the work whose result it gets. A pipe without a reader is refused, not waited for.
pub(crate) fn open_result(path: &Path) -> Result<File, CliError> {
    let open = File::options().write(true).create(true).truncate(false).custom_flags(O_NONBLOCK).open(path);
    open.map_err(|cause| CliError::Write { path: path.to_owned(), cause })
}

pub(crate) fn write_result(mut file: File, text: &str) -> io::Result<()> {
    // A pipe or a device has no length.
    let _no_file = file.set_len(0);
    file.write_all(text.as_bytes())
}
