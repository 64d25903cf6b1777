//! Answers every line of a TCP connection with the same line. The host listens, accepts and owns the connections, as
//! inetd does; the handler reads one stream and writes another.
//!
//! The input ends when the client says so, and when the host wants to stop: what is there of a line is answered then,
//! too, and the end of the output closes the connection.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

use std::cell::Cell;
use wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "../../wit/0.3",
    inline: "
        package sample:echo-handler;
        world echo-handler {
            export curfew:lifecycle/tcp-handler@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "sample:echo-handler/echo-handler",
    generate_all,
});

const BUFFER: usize = 16 * 1024;
/// A line that is longer is answered in parts.
const LONGEST: usize = 64 * 1024;

thread_local! {
    static SERVED: Cell<u64> = const { Cell::new(0) };
}

struct Echo;
export!(Echo);

impl exports::curfew::lifecycle::tcp_handler::Guest for Echo {
    /// Returns the output at once. What is written to it comes from a task that goes on.
    async fn handle(_peer: String, input: StreamReader<u8>) -> StreamReader<u8> {
        let (answers, output) = wit_stream::new();
        spawn_local(async move {
            serve(input, answers).await;
            SERVED.set(SERVED.get() + 1);
        });
        output
    }
}

impl exports::curfew::lifecycle::hook::Guest for Echo {
    /// Called once for each instance, when its connections are closed.
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook: served {} connections", SERVED.get());
        Ok(())
    }
}

async fn serve(mut input: StreamReader<u8>, mut answers: StreamWriter<u8>) {
    let mut line = Vec::new();
    loop {
        let (result, bytes) = input.read(Vec::with_capacity(BUFFER)).await;
        line.extend(&bytes);
        let ended = result == StreamResult::Dropped;
        let whole = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let ready = if ended || line.len() > LONGEST { line.len() } else { whole };
        // What is left over was not taken: the client has left.
        if ready > 0 && !answers.write_all(line.drain(..ready).collect()).await.is_empty() {
            return;
        }
        if ended {
            return;
        }
    }
}
