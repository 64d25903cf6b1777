//! Sends the body of each request back, through its own memory: what the benchmarks stream through, here and on
//! any other host of WASI 0.3's HTTP. So it knows nothing of curfew, and has no hook.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use wasi::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:stream-http;
        world stream-http {
            export wasi:http/handler@0.3.0;
        }
    ",
    world: "sample:stream-http/stream-http",
    generate_all,
});

const CHUNK: usize = 64 * 1024;

type TrailersResult = Result<Option<Trailers>, ErrorCode>;

struct Stream;
export!(Stream);

impl exports::wasi::http::handler::Guest for Stream {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let (consumed, result) = wit_future::new(|| Ok(()));
        let (from, trailers) = Request::consume_body(request, result);
        let (to, contents) = wit_stream::new();
        let (last, copied) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(Fields::new(), Some(contents), copied);
        spawn_local(async move {
            copy(from, to).await;
            end(trailers, last).await;
            drop(consumed);
        });
        Ok(response)
    }
}

/// Reads and writes in turn, until one of the two ends.
async fn copy(mut from: StreamReader<u8>, mut to: StreamWriter<u8>) {
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        let result;
        (result, chunk) = from.read(chunk).await;
        if !chunk.is_empty() {
            chunk = to.write_all(chunk).await;
        }
        // What is left over is what a client that has gone did not read.
        if result == StreamResult::Dropped || !chunk.is_empty() {
            return;
        }
    }
}

async fn end(trailers: FutureReader<TrailersResult>, last: FutureWriter<TrailersResult>) {
    // Nobody waits for them when the client has gone.
    let _ = last.write(trailers.await).await;
}
