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
/// mimalloc asks for them, and gives the thread of each instance pages of its own all over the heap: a huge page under
/// each is 2 MiB to clear and to keep, for an instance that needs 0.2. Its feature `no_thp` only leaves out the request,
/// and a kernel in the mode `always` gives them unasked. Its option `allow_thp` is read from the environment before `main`.
fn use_small_pages() {
    // A kernel without huge pages refuses: nothing is to be forbidden then.
    let _refused = prctl::set_thp_disable(true);
}
