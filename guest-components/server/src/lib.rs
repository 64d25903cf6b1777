//! A service that waits until it is asked to stop: the smallest component that knows curfew.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use curfew::lifecycle::{host, types::Cause};

// The world says what this component gets from its host, and what the host can call.
wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:server;
        world server {
            import curfew:lifecycle/host@0.3.0;
            export wasi:cli/run@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "sample:server/server",
    generate_all,
});

struct Server;
export!(Server);

impl exports::wasi::cli::run::Guest for Server {
    /// The life of the component. A real one would serve here, next to the wait.
    async fn run() -> Result<(), ()> {
        println!("start");
        host::ready();
        let notice = host::stop_requested().await;
        println!("stop: {}", describe(&notice.cause));
        println!("end");
        Ok(())
    }
}

impl exports::curfew::lifecycle::hook::Guest for Server {
    /// The hook: called once, next to `run`. Tell others, flush, save; an error shows in the exit code.
    async fn shutdown(notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
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
