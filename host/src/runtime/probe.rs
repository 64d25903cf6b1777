//! Trials of the system calls that wasmtime needs, before anything is loaded: without them each component would fail on its own,
//! later.

use std::num::NonZeroUsize;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Returns whether the system gives files in memory: instances share them as the beginning of their memories.
pub(super) fn has_memory_files() -> bool {
    // As wasmtime makes them.
    memfd_create("curfew-probe", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).is_ok()
}

/// Checks that memory which was written can be made executable, as compiled code is.
///
/// # Errors
/// The system's answer.
#[expect(unsafe_code, reason = "memory can only be mapped so; see the safety comments")]
pub(super) fn executable_memory() -> nix::Result<()> {
    // The system rounds up to a page.
    let (length, writable) = (NonZeroUsize::MIN, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
    // SAFETY: a new mapping at a place that the system chooses overlaps no other.
    let page = unsafe { mmap_anonymous(None, length, writable, MapFlags::MAP_PRIVATE) }?;
    // SAFETY: the page is this function's own, and no reference to it exists.
    let executable = unsafe { mprotect(page, length.get(), ProtFlags::PROT_READ | ProtFlags::PROT_EXEC) };
    // SAFETY: as before; it is not used after this.
    let _unmapped = unsafe { munmap(page, length.get()) };
    executable
}
