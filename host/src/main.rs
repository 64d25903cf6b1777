//! The `curfew` binary: everything is in the library.

fn main() {
    curfew_host::cli::main()
}
