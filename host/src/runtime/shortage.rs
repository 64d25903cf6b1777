//! Shortages of the machine among the errors of wasmtime: no component causes them, and they can be over later.

use std::io;

use rustix::io::Errno;
use wasmtime::{OutOfMemory, PoolConcurrencyLimitError};

use super::app_memory::AppMemoryFull;
use crate::threads::NoThread;

/// The system's answers when there is no more of something: memory or address space, threads, descriptors, disk.
const SHORT: [Errno; 6] =
    [Errno::NOMEM, Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOSPC, Errno::DQUOT];

/// Returns whether the machine is short of something.
pub(crate) fn is_shortage(error: &wasmtime::Error) -> bool {
    let is_full = error.is::<OutOfMemory>() || error.is::<AppMemoryFull>();
    is_full
        || error.is::<PoolConcurrencyLimitError>()
        || error.is::<NoThread>()
        || system_error(error).is_some_and(|errno| SHORT.contains(&errno))
}

/// Returns the answer of the system that the error is about.
pub(super) fn system_error(error: &wasmtime::Error) -> Option<Errno> {
    error.chain().find_map(|cause| {
        let from_io = || Errno::from_io_error(cause.downcast_ref::<io::Error>()?);
        cause.downcast_ref::<Errno>().copied().or_else(from_io)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_system_is_found_below_what_others_say() {
        let mapped = wasmtime::Error::from(Errno::NOMEM).context("mmap failed").context("no instance");
        assert!(is_shortage(&mapped) && system_error(&mapped) == Some(Errno::NOMEM));
        let opened = wasmtime::Error::from(io::Error::from_raw_os_error(Errno::MFILE.raw_os_error()));
        assert!(is_shortage(&opened.context("cannot open")));
        assert!(is_shortage(&wasmtime::Error::from(NoThread).context("no file")));
        let missing = wasmtime::Error::from(io::Error::from_raw_os_error(Errno::NOENT.raw_os_error()));
        assert!(!is_shortage(&missing) && system_error(&missing) == Some(Errno::NOENT));
        assert!(!is_shortage(&wasmtime::Error::msg("out of memory")));
    }
}
