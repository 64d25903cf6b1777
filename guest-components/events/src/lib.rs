//! An endless stream of server-sent events that ends when it is told to: `data: tick N` each 100 ms, or as
//! often as `?every=MS` says, and `event: stop` with the cause at the end. A stream that its client leaves
//! ends, too.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use curfew::lifecycle::{host, types::Cause};
use futures::future::{Either, select};
use std::cell::Cell;
use std::pin::pin;
use wasi::clocks::monotonic_clock::wait_for;
use wasi::http::types::{ErrorCode, Fields, HeaderError, Method, Request, Response};
use wit_bindgen::{StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:events;
        world events {
            import curfew:lifecycle/host@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            export wasi:http/handler@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "sample:events/events",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const EVERY_MS: u64 = 100;

thread_local! {
    static SERVED: Cell<u64> = const { Cell::new(0) };
}

struct Events;
export!(Events);

impl exports::wasi::http::handler::Guest for Events {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match request.get_method() {
            Method::Get => stream(&request),
            _ => not_allowed(),
        }
    }
}

impl exports::curfew::lifecycle::hook::Guest for Events {
    /// The streams have ended by now, unless their clients are slow to read.
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook: served {} streams", SERVED.get());
        Ok(())
    }
}

fn stream(request: &Request) -> Result<Response, ErrorCode> {
    let every = every(&request.get_path_with_query().unwrap_or_default());
    let headers = Fields::new();
    headers.append("content-type", b"text/event-stream").map_err(refused)?;
    headers.append("cache-control", b"no-cache").map_err(refused)?;
    let (events, contents) = wit_stream::new();
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, Some(contents), trailers);
    SERVED.set(SERVED.get() + 1);
    // It goes on when the response has been handed out: it is its body.
    spawn_local(async move {
        tick(events, every).await;
        drop(no_trailers);
    });
    Ok(response)
}

fn not_allowed() -> Result<Response, ErrorCode> {
    let headers = Fields::new();
    headers.append("allow", b"GET").map_err(refused)?;
    let (_no_trailers, trailers) = wit_future::new(|| Ok(None));
    let (response, _sent) = Response::new(headers, None, trailers);
    response.set_status_code(405).map_err(|()| ErrorCode::InternalError(None))?;
    Ok(response)
}

/// Until the stop is asked for, or the client has gone.
async fn tick(mut events: StreamWriter<u8>, every: u64) {
    let mut stop = pin!(host::stop_requested());
    let mut number = 0u64;
    while send(&mut events, format!("data: tick {number}\n\n")).await {
        number += 1;
        match select(pin!(wait_for(every)), stop.as_mut()).await {
            Either::Left(_) => {}
            Either::Right((notice, _)) => {
                let cause = describe(&notice.cause);
                send(&mut events, format!("event: stop\ndata: {cause}\n\n")).await;
                return;
            }
        }
    }
}

/// Whether there is still somebody who reads.
async fn send(events: &mut StreamWriter<u8>, event: String) -> bool {
    events.write_all(event.into_bytes()).await.is_empty()
}

/// The time between two events, in nanoseconds.
fn every(path_with_query: &str) -> u64 {
    let query = path_with_query.split_once('?').map_or("", |(_, query)| query);
    let given = query.split('&').find_map(|pair| pair.strip_prefix("every=")?.parse::<u64>().ok());
    given.unwrap_or(EVERY_MS).max(1).saturating_mul(MILLISECOND)
}

fn refused(error: HeaderError) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}

fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Signal(name) => format!("signal {name}"),
        Cause::Failure(component) => format!("{component} failed"),
        Cause::Finished(component) => format!("{component} finished"),
        Cause::Reload => "reload".to_string(),
        Cause::Request(who) => format!("asked by {who}"),
    }
}
