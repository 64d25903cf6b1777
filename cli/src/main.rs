//! The `curfew` binary: the allocator, and how it gets its memory. Everything else is in the library.

use nix::sys::prctl;

/// Serving a request allocates some dozens of small pieces; this takes a tenth off its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    use_small_pages();
    curfew_cli::main()
}

/// Forbids the kernel to back this process with transparent huge pages.
///
/// mimalloc asks for them (`MADV_HUGEPAGE`), and most distributions give them to a process that asks. Each instance has
/// a thread, and mimalloc gives each thread pages of its own all over the heap: a huge page under each of them is 2 MiB
/// of memory to clear and to keep, for an instance that needs 0.2.
///
/// mimalloc's feature `no_thp` leaves out the request only: a kernel in the mode `always` gives huge pages unasked. Its
/// option `allow_thp` makes this call too, but is read before `main`, from the environment.
fn use_small_pages() {
    // A kernel without huge pages refuses: nothing is to be forbidden then.
    let _refused = prctl::set_thp_disable(true);
}
