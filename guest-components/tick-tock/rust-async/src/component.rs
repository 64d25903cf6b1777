//! What the host calls: the service, and the hook.

use crate::beat;
use curfew::lifecycle::host::stop_requested;
use futures::future::{Either, select};
use std::cell::Cell;
use std::pin::pin;
use wasip3::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({ path: "wit", generate_all });

struct App;
export!(App);
wasip3::cli::command::export!(App);

const SECOND: u64 = 1_000_000_000;

thread_local! {
    static BEATS: Cell<u64> = const { Cell::new(0) };
}

impl wasip3::exports::cli::run::Guest for App {
    /// The service: it returns as soon as the host asks for the stop.
    async fn run() -> Result<(), ()> {
        let mut stop = pin!(stop_requested());
        loop {
            BEATS.set(BEATS.get() + 1);
            println!("{}", beat(BEATS.get()));
            if let Either::Left(_) = select(stop.as_mut(), pin!(wait_for(SECOND))).await {
                return Ok(());
            }
        }
    }
}

impl Guest for App {
    /// The hook: called once, as soon as `run` waits for something, so both go on at the same time.
    async fn shutdown() {
        println!("ticked {} times", BEATS.get());
    }
}
