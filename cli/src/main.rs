//! The `curfew` binary: everything is in the library.

/// Serving a request allocates some dozens of small pieces; this takes a tenth off its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    curfew_cli::main()
}
