//! Treats each TCP connection as its first line says, well or badly:
//!
//! | line | does |
//! | --- | --- |
//! | `echo` | sends back all that follows, as it comes |
//! | `who` | says the client's address, and the number of this instance |
//! | `count` | says how many bytes followed, when the input has ended |
//! | `flood N` | sends N bytes, whatever comes in, and ends |
//! | `deaf` | reads no more, and ends when the output is not taken any more |
//! | `touchy` | the same, but traps then |
//! | `careless N` | sends N lines, 5 ms apart, without a look at whether somebody takes them: that traps |
//! | `bye` | ends at once, with whatever follows unread |
//! | `sleep MS` | ends so long after the input has |
//! | `half` | sends `half`, and never ends |
//! | `trap`, `half-trap`, `spin`, `exit` | what they say; the second has sent `half` before |
//!
//! Standard output says how a connection went on: `input ended`, `output dropped`. The environment variable `HOOK` says what
//! the hook does: `trap` or `spin`.

// Nothing of it can run elsewhere, and so a build of the whole workspace passes it by.
#![cfg(target_family = "wasm")]

#[allow(dead_code, reason = "most of it is for guests that take arguments")]
#[path = "../../shared/misdeeds.rs"]
mod misdeeds;

use wasi::cli::exit::exit_with_code;
use wasi::clocks::monotonic_clock::wait_for;
use wasi::random::random::get_random_u64;
use wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};

wit_bindgen::generate!({
    path: "../../../wit/0.3",
    inline: "
        package hostile:tcp;
        world tcp-lab {
            import wasi:cli/exit@0.3.0;
            import wasi:clocks/monotonic-clock@0.3.0;
            import wasi:random/random@0.3.0;
            export curfew:lifecycle/tcp-handler@0.3.0;
            export curfew:lifecycle/hook@0.3.0;
        }
    ",
    world: "hostile:tcp/tcp-lab",
    generate_all,
});

const MILLISECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600_000 * MILLISECOND;
const BUFFER: usize = 64 * 1024;

thread_local! {
    static SELF: u64 = get_random_u64();
}

struct Lab;
export!(Lab);

impl exports::curfew::lifecycle::tcp_handler::Guest for Lab {
    async fn handle(peer: String, input: StreamReader<u8>) -> StreamReader<u8> {
        let (answers, output) = wit_stream::new();
        spawn_local(async move { serve(&peer, Input { stream: input, ahead: Vec::new() }, answers).await });
        output
    }
}

impl exports::curfew::lifecycle::hook::Guest for Lab {
    async fn shutdown(_notice: exports::curfew::lifecycle::hook::Notice) -> Result<(), String> {
        println!("hook called");
        match std::env::var("HOOK").unwrap_or_default().as_str() {
            "" => {}
            "trap" => misdeeds::deep_trap(),
            "spin" => misdeeds::spin(),
            mode => return Err(misdeeds::unknown("HOOK", mode)),
        }
        Ok(())
    }
}

async fn serve(peer: &str, mut input: Input, mut output: StreamWriter<u8>) {
    let Some(line) = input.line().await else { return ended("input ended early") };
    let (word, number) = line.split_once(' ').unwrap_or((&line, "0"));
    let number: u64 = number.parse().unwrap_or(0);
    match word {
        "echo" => echo(&mut input, &mut output).await,
        "who" => drop(output.write_all(format!("{peer} {}\n", SELF.with(|me| *me)).into_bytes()).await),
        "count" => {
            let count = input.count().await;
            ended("input ended");
            drop(output.write_all(format!("{count}\n").into_bytes()).await);
        }
        "flood" => flood(number, &mut output).await,
        "deaf" => {
            drop(input);
            flood(u64::MAX, &mut output).await;
        }
        "touchy" => {
            drop(input);
            flood(u64::MAX, &mut output).await;
            misdeeds::deep_trap();
        }
        "careless" => {
            for _ in 0..number {
                drop(output.write_all(b"again\n".to_vec()).await);
                wait_for(5 * MILLISECOND).await;
            }
        }
        "bye" => drop(output.write_all(b"bye\n".to_vec()).await),
        "sleep" => {
            input.count().await;
            ended("input ended");
            wait_for(number * MILLISECOND).await;
            drop(output.write_all(b"slept\n".to_vec()).await);
        }
        "half" => {
            drop(output.write_all(b"half\n".to_vec()).await);
            wait_for(HOUR).await;
        }
        "half-trap" => {
            drop(output.write_all(b"half\n".to_vec()).await);
            misdeeds::deep_trap();
        }
        "trap" => misdeeds::deep_trap(),
        "spin" => misdeeds::spin(),
        "exit" => exit_with_code(3),
        other => drop(output.write_all(format!("unknown: {other}\n").into_bytes()).await),
    }
}

fn ended(what: &str) {
    println!("{what}");
}

async fn echo(input: &mut Input, output: &mut StreamWriter<u8>) {
    while let Some(bytes) = input.some().await {
        if !output.write_all(bytes).await.is_empty() {
            return ended("output dropped");
        }
    }
    ended("input ended");
}

async fn flood(mut left: u64, output: &mut StreamWriter<u8>) {
    while left > 0 {
        let size = left.min(BUFFER as u64);
        if !output.write_all(vec![b'x'; size as usize]).await.is_empty() {
            return ended("output dropped");
        }
        left -= size;
    }
}

/// What the client sends.
struct Input {
    stream: StreamReader<u8>,
    ahead: Vec<u8>,
}

impl Input {
    /// The next bytes; `None` at the end.
    async fn some(&mut self) -> Option<Vec<u8>> {
        if !self.ahead.is_empty() {
            return Some(std::mem::take(&mut self.ahead));
        }
        let (result, bytes) = self.stream.read(Vec::with_capacity(BUFFER)).await;
        (!bytes.is_empty() || result != StreamResult::Dropped).then_some(bytes)
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            line.extend(self.some().await?);
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                self.ahead = line.split_off(end + 1);
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        }
    }

    async fn count(&mut self) -> u64 {
        let mut count = 0;
        while let Some(bytes) = self.some().await {
            count += bytes.len() as u64;
        }
        count
    }
}
