//! Places where tests make a part of the host die. `CURFEW_FAIL_POINT` names one of them; a release build has none.

pub(crate) fn armed() -> Option<String> {
    if cfg!(debug_assertions) { std::env::var("CURFEW_FAIL_POINT").ok() } else { None }
}

pub(crate) fn reach(name: &str) {
    if armed().is_some_and(|point| point == name) {
        die(name);
    }
}

/// Leaves a descriptor and a thread behind.
pub(crate) fn leave_behind(name: &str) {
    if armed().is_some_and(|point| point == name) {
        std::mem::forget(std::fs::File::open("/dev/null"));
        drop(std::thread::spawn(std::thread::park));
    }
}

/// Dies as a part of the host with a bug would.
#[expect(clippy::panic, reason = "this is what a fail point is for")]
pub(crate) fn die(name: &str) -> ! {
    panic!("the fail point `{name}`");
}
