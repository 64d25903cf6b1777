//! Waits for some seconds, then ends or fails. Arguments: `SECONDS end|fail [MESSAGE]`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use curfew::lifecycle::host;
use futures::future::{Either, select};
use std::pin::pin;
use wasi::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:timer;
        world timer {
            import curfew:lifecycle/host@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            export wasi:cli/run@0.3.0;
        }
    ",
    world: "sample:timer/timer",
    generate_all,
});

struct Timer;
export!(Timer);

impl exports::wasi::cli::run::Guest for Timer {
    async fn run() -> Result<(), ()> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let (nanoseconds, fails) = match parse(&args) {
            Some(plan) => plan,
            None => {
                eprintln!("usage: SECONDS end|fail [MESSAGE]");
                return Err(());
            }
        };
        host::ready();
        // Whichever comes first: the time is over, or the host asks for the stop.
        match select(pin!(wait_for(nanoseconds)), pin!(host::stop_requested())).await {
            Either::Left(_) if fails => {
                eprintln!("{}", args.get(2).map_or("time is over", String::as_str));
                Err(())
            }
            Either::Left(_) => {
                println!("time is over");
                Ok(())
            }
            Either::Right(_) => {
                println!("stopped before the time was over");
                Ok(())
            }
        }
    }
}

/// The wait in nanoseconds, and whether its end is a failure.
fn parse(args: &[String]) -> Option<(u64, bool)> {
    let seconds: f64 = args.first()?.parse().ok()?;
    let fails = match args.get(1)?.as_str() {
        "end" => false,
        "fail" => true,
        _ => return None,
    };
    (seconds >= 0.0).then_some(((seconds * 1e9) as u64, fails))
}
