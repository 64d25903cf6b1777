//! What the host calls: the handler of requests, and the hook.

use crate::greeting;
use std::cell::Cell;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({ inline: "package my:app; world app { export shutdown: func(); }" });

struct App;
export!(App);
wasip2::http::proxy::export!(App);

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

impl wasip2::exports::http::incoming_handler::Guest for App {
    /// Called for each request, one at a time.
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        let n = REQUESTS.get() + 1;
        REQUESTS.set(n);
        let headers = [("content-type".to_string(), b"text/plain".to_vec())];
        let fields = Fields::from_list(&headers).expect("the header is valid");
        let response = OutgoingResponse::new(fields);
        let body = response.body().expect("the first body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the first stream");
        // A client that has gone is no failure.
        let _ = stream.blocking_write_and_flush(greeting(n).as_bytes());
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

impl Guest for App {
    /// The hook: called once, when the requests are answered.
    fn shutdown() {
        println!("said hello {} times", REQUESTS.get());
    }
}
