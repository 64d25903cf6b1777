//! Says `Hello` over HTTP, and at the end how often, in WASI 0.2. It runs on any host of WASI 0.2's HTTP,
//! such as `wasmtime serve -Scli`; the benchmarks serve it, so it waits for nothing: the answer is whole
//! before it is handed out.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use std::cell::Cell;
use wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

wit_bindgen::generate!({
    path: "../../wit/0.2",
    inline: "
        package sample:hello-http-classic;
        world hello-http-classic {
            export wasi:http/incoming-handler@0.2.12;
            export curfew:lifecycle/hook@0.2.0;
        }
    ",
    world: "sample:hello-http-classic/hello-http-classic",
    generate_all,
});

const BODY: &[u8] = b"Hello";

thread_local! {
    static SERVED: Cell<u64> = const { Cell::new(0) };
    static HEADERS: [(String, Vec<u8>); 2] = [
        ("content-type".to_string(), b"text/plain".to_vec()),
        ("content-length".to_string(), BODY.len().to_string().into_bytes()),
    ];
}

struct Hello;
export!(Hello);

impl exports::wasi::http::incoming_handler::Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        SERVED.set(SERVED.get() + 1);
        ResponseOutparam::set(out, respond());
    }
}

impl exports::curfew::lifecycle::hook::Guest for Hello {
    /// Called once for each instance, when the requests in flight are answered.
    fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook: served {} requests", SERVED.get());
        Ok(())
    }
}

/// A new body takes some kilobytes at once, and so it can be written before anybody reads it.
fn respond() -> Result<OutgoingResponse, ErrorCode> {
    let headers = HEADERS.with(|headers| Fields::from_list(headers)).map_err(failed)?;
    let response = OutgoingResponse::new(headers);
    let body = response.body().map_err(|()| failed("a second body"))?;
    let stream = body.write().map_err(|()| failed("a second stream"))?;
    stream.check_write().and_then(|_room| stream.write(BODY)).map_err(failed)?;
    drop(stream);
    OutgoingBody::finish(body, None)?;
    Ok(response)
}

fn failed(error: impl ToString) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
