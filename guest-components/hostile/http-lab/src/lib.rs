//! Serves HTTP as each request's path says, well or badly, in WASI 0.3: `../../shared/asked.rs` has the
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
use wasi::clocks::monotonic_clock::wait_for;
use wasi::http::types::{ErrorCode, Fields, Request, Response};
use wasi::random::random::get_random_u64;

wit_bindgen::generate!({
    path: "../../../wit/0.3",
    inline: "
        package hostile:http;
        world http-lab {
            import curfew:lifecycle/host@0.3.0;
            import wasi:cli/exit@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:http/client@0.3.0;
            import wasi:random/random@0.3.0;
            export wasi:http/handler@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "hostile:http/http-lab",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;

struct Lab;
export!(Lab);

impl exports::wasi::http::handler::Guest for Lab {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match asked::step(request.get_path_with_query()) {
            Step::Answer(answer) => body::respond(answer),
            Step::Sleep(ms) | Step::Look(ms) => {
                wait_for(ms * MILLISECOND).await;
                body::respond(Answer::text(format!("slept {ms} ms")))
            }
            Step::Touchy(ms) => body::touchy(request, ms).await,
            Step::Read => body::read(request).await,
            Step::Echo => body::echo(request),
            Step::HandOver => body::hand_over(request),
            Step::Fetch(url) => fetch::relay(&url).await,
            Step::Headers => body::respond(Answer::text(lines(&request))),
            Step::State => body::respond(Answer::text(memory::state(get_random_u64))),
            Step::RequestStop => {
                host::request_stop();
                body::respond(Answer::text("asked for the stop"))
            }
            Step::Exit(code) => {
                exit_with_code(code);
                Err(on_purpose())
            }
            Step::Park => {
                park().await;
                Err(on_purpose())
            }
            Step::NoResponse => Err(on_purpose()),
            Step::NoBody => {
                let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
                Ok(Response::new(Fields::new(), None, trailers).0)
            }
            Step::Forget(thing, count) => {
                for _ in 0..count {
                    match thing {
                        Thing::Fields => std::mem::forget(Fields::new()),
                        Thing::Stream => std::mem::forget(wit_stream::new::<u8>()),
                    }
                }
                body::respond(Answer::text("forgotten"))
            }
            Step::HugeCall(mib) => {
                let value = vec![b'x'; mib as usize * 1024 * 1024];
                let made = Fields::from_list(&[("x-huge".to_string(), value)]);
                body::respond(Answer::text(format!("{}", made.is_ok())))
            }
        }
    }
}

impl exports::curfew::lifecycle::hook::Guest for Lab {
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        let hook = asked::hook();
        if let Hook::Slow(ms) = hook {
            wait_for(ms * MILLISECOND).await;
        }
        println!("hook: served {} requests", memory::served());
        match hook {
            Hook::Good | Hook::Slow(_) => {}
            Hook::Error => return Err("the hook failed on purpose".to_string()),
            Hook::Trap => misdeeds::deep_trap(),
            Hook::Spin => misdeeds::spin(),
            Hook::Park => park().await,
            Hook::RequestStop => host::request_stop(),
            Hook::Exit => exit_with_code(3),
            Hook::Unknown(mode) => return Err(misdeeds::unknown("HOOK", &mode)),
        }
        Ok(())
    }
}

async fn park() {
    wait_for(HOUR).await;
}

fn on_purpose() -> ErrorCode {
    ErrorCode::InternalError(Some("no response on purpose".to_string()))
}

/// One a line, as `name: value`; the authority is `:authority`.
fn lines(request: &Request) -> String {
    let line = |(name, value): (String, Vec<u8>)| format!("{name}: {}\n", String::from_utf8_lossy(&value));
    let authority = (":authority".to_string(), request.get_authority().unwrap_or_default().into_bytes());
    Some(authority).into_iter().chain(request.get_headers().copy_all()).map(line).collect()
}
