//! What an instance of the HTTP lab remembers from one request to the next. Included by path.

use std::cell::Cell;

thread_local! {
    static SERVED: Cell<u64> = const { Cell::new(0) };
    static GONE: Cell<u64> = const { Cell::new(0) };
    static STATE: Cell<u64> = const { Cell::new(0) };
    static BROKEN: Cell<Option<Broken>> = const { Cell::new(None) };
    static ID: Cell<Option<u64>> = const { Cell::new(None) };
}

/// How the health of an instance is bad.
#[derive(Clone, Copy)]
pub enum Broken {
    Error,
    Hangs,
    Spins,
}

/// From here on the instance is not well.
pub fn break_down(how: Broken) {
    BROKEN.set(Some(how));
}

pub fn broken() -> Option<Broken> {
    BROKEN.get()
}

/// Counts a request, and tells the number that it has.
pub fn count_request() -> u64 {
    increment(&SERVED)
}

pub fn served() -> u64 {
    SERVED.get()
}

/// Counts an answer that its client did not read to the end.
pub fn count_gone() {
    increment(&GONE);
}

pub fn gone() -> u64 {
    GONE.get()
}

/// A number that grows with each call, and the identity of the instance, made at the first.
pub fn state(random: fn() -> u64) -> String {
    let id = ID.get().unwrap_or_else(random);
    ID.set(Some(id));
    format!("{} {id:016x}", increment(&STATE))
}

fn increment(counter: &'static std::thread::LocalKey<Cell<u64>>) -> u64 {
    let count = counter.get() + 1;
    counter.set(count);
    count
}
