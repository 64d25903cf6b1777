//! Serves HTTP as each request's path says, well or badly, in WASI 0.2: `../../shared/asked.rs` has the
//! paths. The hook behaves as the environment variable `HOOK` says. A client that goes away is counted and
//! never traps it.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

#[path = "../../shared/asked.rs"]
mod asked;
mod body;
mod fetch;
#[path = "../../shared/memory.rs"]
mod memory;
#[allow(dead_code, reason = "most of it is for guests that take arguments")]
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;

use asked::{Answer, Hook, Step, Thing};
use curfew::lifecycle::host;
use wasi::cli::exit::exit_with_code;
use wasi::clocks::monotonic_clock::subscribe_duration;
use wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use wasi::random::random::get_random_u64;

wit_bindgen::generate!({
    path: "../../../wit/0.2",
    inline: "
        package hostile:http-classic;
        world http-lab {
            import curfew:lifecycle/host@0.2.0;
            import wasi:cli/exit@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:random/random@0.2.12;
            export wasi:http/incoming-handler@0.2.12;
            export curfew:lifecycle/hook@0.2.0;
        }
    ",
    world: "hostile:http-classic/http-lab",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;

struct Lab;
export!(Lab);

impl exports::wasi::http::incoming_handler::Guest for Lab {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match asked::step(request.path_with_query()) {
            Step::Answer(answer) => body::respond(out, answer),
            Step::Sleep(ms) => {
                wait_for(ms * MILLISECOND);
                body::respond(out, Answer::text(format!("slept {ms} ms")));
            }
            Step::Look(ms) => {
                let over = subscribe_duration(ms * MILLISECOND);
                while !over.ready() {}
                body::respond(out, Answer::text(format!("looked for {ms} ms")));
            }
            Step::Touchy(ms) => body::touchy(&request, out, ms),
            Step::Read => body::read(&request, out),
            Step::Echo | Step::HandOver => body::echo(&request, out),
            Step::Fetch(url) => fetch::relay(&url, out),
            Step::Headers => body::respond(out, Answer::text(lines(&request))),
            Step::State => body::respond(out, Answer::text(memory::state(get_random_u64))),
            Step::RequestStop => {
                host::request_stop();
                body::respond(out, Answer::text("asked for the stop"));
            }
            Step::Exit(code) => exit_with_code(code),
            Step::Park => wait_for(HOUR),
            Step::NoResponse => {}
            Step::NoBody => ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new()))),
            Step::Forget(Thing::Fields | Thing::Stream, count) => body::forget(out, count),
            Step::HugeCall(mib) => body::huge_call(out, mib),
        }
    }
}

impl exports::curfew::lifecycle::hook::Guest for Lab {
    fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        let hook = asked::hook();
        if let Hook::Slow(ms) = hook {
            wait_for(ms * MILLISECOND);
        }
        println!("hook: served {} requests", memory::served());
        match hook {
            Hook::Good | Hook::Slow(_) => {}
            Hook::Error => return Err("the hook failed on purpose".to_string()),
            Hook::Trap => misdeeds::deep_trap(),
            Hook::Spin => misdeeds::spin(),
            Hook::Park => wait_for(HOUR),
            Hook::RequestStop => host::request_stop(),
            Hook::Exit => exit_with_code(3),
            Hook::Unknown(mode) => return Err(misdeeds::unknown("HOOK", &mode)),
        }
        Ok(())
    }
}

fn wait_for(nanoseconds: u64) {
    subscribe_duration(nanoseconds).block();
}

/// One a line, as `name: value`; the authority is `:authority`.
fn lines(request: &IncomingRequest) -> String {
    let line = |(name, value): (String, Vec<u8>)| format!("{name}: {}\n", String::from_utf8_lossy(&value));
    let authority = (":authority".to_string(), request.authority().unwrap_or_default().into_bytes());
    Some(authority).into_iter().chain(request.headers().entries()).map(line).collect()
}
