//! What the host calls: the handler of requests, and the hook.

use crate::greeting;
use std::cell::Cell;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};

wit_bindgen::generate!({ inline: "package my:app; world app { export shutdown: async func(); }" });

struct App;
export!(App);
wasip3::http::service::export!(App);

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

impl wasip3::exports::http::handler::Guest for App {
    /// Called for each request, many at a time.
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        let n = REQUESTS.get() + 1;
        REQUESTS.set(n);
        let headers = [("content-type".to_string(), b"text/plain".to_vec())];
        let (mut body, contents) = wasip3::wit_stream::new();
        let (no_trailers, trailers) = wasip3::wit_future::new(|| Ok(None));
        let fields = Fields::from_list(&headers).expect("the header is valid");
        let (response, _sent) = Response::new(fields, Some(contents), trailers);
        // The host reads the body once it has the response. A client that has gone is no failure.
        wit_bindgen::spawn_local(async move {
            body.write_all(greeting(n).into_bytes()).await;
            drop(body);
            let _ = no_trailers.write(Ok(None)).await;
        });
        Ok(response)
    }
}

impl Guest for App {
    /// The hook: called once, when the requests are answered, or beside them if they take long.
    async fn shutdown() {
        println!("said hello {} times", REQUESTS.get());
    }
}
