//! A service that waits until it is asked to stop, in WASI 0.2: synchronous, with a pollable.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use curfew::lifecycle::{host, types::Cause};

wit_bindgen::generate!({
    path: "../../wit/0.2",
    inline: "
        package sample:server-classic;
        world server-classic {
            import curfew:lifecycle/host@0.2.0;
            export wasi:cli/run@0.2.12;
            export curfew:lifecycle/hook@0.2.0;
        }
    ",
    world: "sample:server-classic/server-classic",
    generate_all,
});

struct Server;
export!(Server);

impl exports::wasi::cli::run::Guest for Server {
    fn run() -> Result<(), ()> {
        println!("start");
        host::ready();
        // A real server polls this one together with its sockets: see tcp-echo-classic.
        host::subscribe_stop().block();
        if let Some(notice) = host::stop_notice() {
            println!("stop: {}", describe(&notice.cause));
        }
        println!("end");
        Ok(())
    }
}

impl exports::curfew::lifecycle::hook::Guest for Server {
    /// A synchronous `run` can not be interrupted, so the hook is called when `run` has returned.
    fn shutdown(notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook: at most {} ms left", notice.grace / 1_000_000);
        Ok(())
    }
}

fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Signal(name) => format!("signal {name}"),
        Cause::Failure(component) => format!("{component} failed"),
        Cause::Finished(component) => format!("{component} finished"),
        Cause::Reload => "reload".to_string(),
        Cause::Request(who) => format!("asked by {who}"),
    }
}
