//! Says `Hello` over HTTP, and at the end how often. It runs on any host of WASI 0.3's HTTP, such as
//! `wasmtime serve -Scli`; the benchmarks serve it, so nothing here is done twice or for a request that could
//! be done before.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use std::cell::Cell;
use wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::{spawn_local, yield_async};

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:hello-http;
        world hello-http {
            export wasi:http/handler@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "sample:hello-http/hello-http",
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

impl exports::wasi::http::handler::Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        SERVED.set(SERVED.get() + 1);
        let headers = HEADERS
            .with(|headers| Fields::from_list(headers))
            .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        let (mut body, contents) = wit_stream::new();
        let (no_trailers, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(headers, Some(contents), trailers);
        spawn_local(async move {
            // The host takes the response first. Then it is ready to read, and no write has to wait.
            yield_async().await;
            // What a client that has gone leaves unread is no failure.
            let _ = body.write(BODY.to_vec()).await;
            drop(body);
            let _ = no_trailers.write(Ok(None)).await;
        });
        Ok(response)
    }
}

impl exports::curfew::lifecycle::hook::Guest for Hello {
    /// Called once for each instance, when the requests in flight are answered.
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook: served {} requests", SERVED.get());
        Ok(())
    }
}
