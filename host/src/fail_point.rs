//! Fail points: places where tests make a part of the host die. In a debug build `CURFEW_FAIL_POINT` names one of them; a
//! release build has none.

/// Returns the fail point that was asked for.
pub(crate) fn armed() -> Option<String> {
    if cfg!(debug_assertions) { std::env::var("CURFEW_FAIL_POINT").ok() } else { None }
}

/// Dies here if this fail point was asked for.
pub(crate) fn reach(name: &str) {
    if armed().is_some_and(|point| point == name) {
        die(name);
    }
}

/// Leaves a descriptor and a thread behind here if this fail point was asked for.
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
