//! What the host calls: the service, and the hook.

use crate::beat;
use curfew::lifecycle::host;
use std::cell::Cell;
use wasip2::clocks::monotonic_clock;
use wasip2::io::poll::poll;

wit_bindgen::generate!({
    path: "wit",
    generate_all,
    with: { "wasi:io/poll@0.2.12": wasip2::io::poll },
});

struct App;
export!(App);
wasip2::cli::command::export!(App);

const SECOND: u64 = 1_000_000_000;

thread_local! {
    static BEATS: Cell<u64> = const { Cell::new(0) };
}

impl wasip2::exports::cli::run::Guest for App {
    /// The service: it returns as soon as the host asks for the stop.
    fn run() -> Result<(), ()> {
        let stop = host::subscribe_stop();
        while !stop.ready() {
            BEATS.set(BEATS.get() + 1);
            println!("{}", beat(BEATS.get()));
            poll(&[&stop, &monotonic_clock::subscribe_duration(SECOND)]);
        }
        Ok(())
    }
}

impl Guest for App {
    /// The hook: called once, when `run` has returned.
    fn shutdown() {
        println!("ticked {} times", BEATS.get());
    }
}
