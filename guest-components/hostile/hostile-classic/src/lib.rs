//! Misbehaves as its arguments say, in WASI 0.2. Arguments: `run=BEHAVIOUR hook=BEHAVIOUR`, both `good` unless
//! given, and for some of them `path=PATH`, `mib=N`, `ms=N`, and `between=sleep` or `between=yield` for `run=look-echo`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod hook;
mod look;
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;
mod run;

use curfew::lifecycle::host;
use wasi::clocks::monotonic_clock::subscribe_duration;

wit_bindgen::generate!({
    path: "../../../wit/0.2",
    inline: "
        package hostile:classic;
        world hostile {
            import curfew:lifecycle/host@0.2.0;
            import wasi:cli/exit@0.2.12;
            import wasi:cli/stdin@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            export wasi:cli/run@0.2.12;
            export curfew:lifecycle/hook@0.2.0;
        }
    ",
    world: "hostile:classic/hostile",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;

struct Hostile;
export!(Hostile);

impl exports::wasi::cli::run::Guest for Hostile {
    fn run() -> Result<(), ()> {
        let behaviour = misdeeds::option("run").unwrap_or_else(|| "good".to_string());
        println!("run entered");
        if behaviour != "never-ready" {
            host::ready();
        }
        run::behave(&behaviour).map_err(|error| eprintln!("{error}"))
    }
}

impl exports::curfew::lifecycle::hook::Guest for Hostile {
    fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook called");
        let behaviour = misdeeds::option("hook").unwrap_or_else(|| "good".to_string());
        hook::behave(&behaviour)?;
        println!("hook done");
        Ok(())
    }
}

fn wait_for(nanoseconds: u64) {
    subscribe_duration(nanoseconds).block();
}

/// Asks again and again, and parks in between.
fn extend_for_ever() -> ! {
    let mut told = false;
    loop {
        let granted = host::extend_grace(HOUR);
        if granted > 0 && !told {
            println!("granted {} ms", granted / MILLISECOND);
            told = true;
        }
        wait_for(10 * MILLISECOND);
    }
}
