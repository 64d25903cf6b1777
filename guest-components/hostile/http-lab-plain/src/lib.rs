//! The HTTP lab in WASI 0.2 as one who knows nothing of curfew builds it: it has no hook and no import of the host's, so each
//! request gets a fresh instance. `../../shared/asked.rs` has the paths.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

#[allow(dead_code, reason = "there is no hook")]
#[path = "../../shared/asked.rs"]
mod asked;
#[path = "../../http-lab-classic/src/body.rs"]
mod body;
#[path = "../../http-lab-classic/src/fetch.rs"]
mod fetch;
#[allow(dead_code, reason = "there is no hook to count for")]
#[path = "../../shared/memory.rs"]
mod memory;
#[allow(dead_code, reason = "most of it is for guests that take arguments")]
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;

use asked::{Answer, Step, Thing};
use wasi::cli::exit::exit_with_code;
use wasi::clocks::monotonic_clock::subscribe_duration;
use wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};
use wasi::random::random::get_random_u64;

wit_bindgen::generate!({
    path: "../../../wit/0.2",
    inline: "
        package hostile:http-plain;
        world http-lab {
            import wasi:cli/exit@0.2.12;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
            import wasi:random/random@0.2.12;
            export wasi:http/incoming-handler@0.2.12;
        }
    ",
    world: "hostile:http-plain/http-lab",
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
            Step::Headers | Step::RequestStop => {
                body::respond(out, Answer::text("not here").with_status(404))
            }
            Step::State => body::respond(out, Answer::text(memory::state(get_random_u64))),
            Step::Exit(code) => exit_with_code(code),
            Step::Park => wait_for(HOUR),
            Step::NoResponse => {}
            Step::NoBody => ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new()))),
            Step::Forget(Thing::Fields | Thing::Stream, count) => body::forget(out, count),
            Step::HugeCall(mib) => body::huge_call(out, mib),
        }
    }
}

fn wait_for(nanoseconds: u64) {
    subscribe_duration(nanoseconds).block();
}
