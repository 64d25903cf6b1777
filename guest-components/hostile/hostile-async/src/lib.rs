//! Misbehaves as its arguments say, in WASI 0.3. Arguments: `run=BEHAVIOUR hook=BEHAVIOUR`, both `good` unless
//! given, and for some of them `path=PATH`, `mib=N`, `ms=N`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

mod hook;
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;
mod run;

use curfew::lifecycle::host;
use wasi::clocks::monotonic_clock::wait_for;

wit_bindgen::generate!({
    path: "../../../wit/0.3",
    inline: "
        package hostile:asynchronous;
        world hostile {
            import curfew:lifecycle/host@0.3.0;
            import wasi:cli/exit@0.3.0;
            import wasi:cli/stdin@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:sockets/types@0.3.0;
            export wasi:cli/run@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "hostile:asynchronous/hostile",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;

struct Hostile;
export!(Hostile);

impl exports::wasi::cli::run::Guest for Hostile {
    async fn run() -> Result<(), ()> {
        let behaviour = misdeeds::option("run").unwrap_or_else(|| "good".to_string());
        println!("run entered");
        if behaviour != "never-ready" {
            host::ready();
        }
        run::behave(&behaviour).await.map_err(|error| eprintln!("{error}"))
    }
}

impl exports::curfew::lifecycle::hook::Guest for Hostile {
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook called");
        let behaviour = misdeeds::option("hook").unwrap_or_else(|| "good".to_string());
        hook::behave(&behaviour).await?;
        println!("hook done");
        Ok(())
    }
}

/// Asks again and again, and parks in between.
async fn extend_for_ever() {
    let mut told = false;
    loop {
        let granted = host::extend_grace(HOUR);
        if granted > 0 && !told {
            println!("granted {} ms", granted / MILLISECOND);
            told = true;
        }
        wait_for(10 * MILLISECOND).await;
    }
}
