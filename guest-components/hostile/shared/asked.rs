//! What the path of a request asks the HTTP lab for, the same in both generations of WASI. Included by path.

use crate::memory::Broken;
use crate::{memory, misdeeds};

/// The first piece of a body that does not end well, unless the request says how much.
const SOME_BYTES: u64 = 1000;

/// So long after its last byte a body goes wrong, unless the request says when: its client has the head by then.
const MOMENT_MS: u64 = 50;

/// What the instance does with the request.
pub enum Step {
    Answer(Answer),
    /// Answers after so many milliseconds.
    Sleep(u64),
    /// The same, but looks all the time whether they are over, where the generation of WASI can.
    Look(u64),
    /// Reads the request, answers after so many milliseconds, and traps if its client does not stay so long.
    Touchy(u64),
    /// Reads the request, and answers its size, or how it broke off. Prints the same.
    Read,
    /// Streams the body of the request back, with its trailers.
    Echo,
    /// The same without a look at it, where the generation of WASI can.
    HandOver,
    Fetch(String),
    Headers,
    State,
    RequestStop,
    Exit(u8),
    Park,
    NoResponse,
    /// Answers, and never takes the body of its answer.
    NoBody,
    /// Answers, and forgets so many things of the host.
    Forget(Thing, u64),
    /// Hands so many MiB to the host in one call.
    HugeCall(u64),
}

/// A thing of the host of which an instance can have so many.
#[derive(Clone, Copy)]
pub enum Thing {
    Fields,
    /// A stream, where the generation of WASI has some.
    Stream,
}

pub struct Answer {
    pub status: u16,
    pub body: Body,
    /// Whether the head tells the length of the body.
    pub sized: bool,
    pub end: End,
}

pub enum Body {
    Text(String),
    /// So many letters x.
    Filler(u64),
    /// A line now and then, until nobody reads it.
    Endless,
    /// So many lines, each after so many milliseconds, without a look at whether somebody reads them. That traps.
    Careless(u64, u64),
}

/// How the body ends; the bad ways come so many milliseconds after its last byte.
pub enum End {
    Good,
    Trailers,
    Trap(u64),
    Spin(u64),
    Park,
    /// All of it is written, and the body is forgotten.
    Forgotten,
    /// The body has its end, and the instance traps behind it.
    GoodThenTrap(u64),
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Answer {
        Answer { status: 200, body: Body::Text(text.into()), sized: true, end: End::Good }
    }

    fn filler(bytes: u64, sized: bool, end: End) -> Answer {
        Answer { status: 200, body: Body::Filler(bytes), sized, end }
    }

    pub fn with_status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut headers = vec![("content-type".to_string(), b"text/plain".to_vec())];
        if matches!(self.end, End::Trailers) {
            // In HTTP/1.1 they are not sent without this.
            headers.push(("trailer".to_string(), b"x-end".to_vec()));
        }
        let length = match &self.body {
            Body::Text(text) => text.len() as u64,
            Body::Filler(bytes) => *bytes,
            Body::Endless | Body::Careless(..) => return headers,
        };
        if self.sized {
            headers.push(("content-length".to_string(), length.to_string().into_bytes()));
        }
        headers
    }
}

/// What misbehaves without any help of the host's does it in here.
pub fn step(path_with_query: Option<String>) -> Step {
    let number_of_request = memory::count_request();
    let path_with_query = path_with_query.unwrap_or_default();
    let (path, query) = path_with_query.split_once('?').unwrap_or((&path_with_query, ""));
    let bytes = number(query, "bytes", SOME_BYTES);
    let after = number(query, "after", MOMENT_MS);
    Step::Answer(match path {
        "" | "/" => Answer::text(format!("Hello {number_of_request}")),
        "/sleep" => return Step::Sleep(number(query, "ms", 100)),
        "/look" => return Step::Look(number(query, "ms", 100)),
        "/touchy" => return Step::Touchy(number(query, "ms", 0)),
        "/big" => Answer::filler(bytes, false, End::Good),
        "/sized" | "/unread" => Answer::filler(bytes, true, End::Good),
        "/endless" => Answer { status: 200, body: Body::Endless, sized: false, end: End::Good },
        "/careless" => {
            let body = Body::Careless(number(query, "lines", 100), number(query, "ms", 20));
            Answer { status: 200, body, sized: false, end: End::Good }
        }
        "/read" => return Step::Read,
        "/echo" => return Step::Echo,
        "/hand-over" => return Step::HandOver,
        "/gone" => Answer::text(memory::gone().to_string()),
        "/file" => match std::fs::read_to_string("/data/file") {
            Ok(text) => Answer::text(text),
            Err(error) => Answer::text(error.to_string()).with_status(500),
        },
        "/spin" => misdeeds::spin(),
        "/trap" => {
            misdeeds::deep_trap();
            return Step::NoResponse;
        }
        "/panic" => {
            misdeeds::panic_on_purpose();
            return Step::NoResponse;
        }
        "/exit" => return Step::Exit(number(query, "code", 0).min(255) as u8),
        "/park" => return Step::Park,
        "/trap-mid" => Answer::filler(bytes, false, End::Trap(after)),
        "/spin-mid" => Answer::filler(bytes, false, End::Spin(after)),
        "/forget-body" => Answer::filler(bytes, false, End::Forgotten),
        "/forget-sized-body" => Answer::filler(bytes, true, End::Forgotten),
        "/trap-behind" => Answer::filler(bytes, false, End::GoodThenTrap(after)),
        "/forget-fields" => return Step::Forget(Thing::Fields, number(query, "count", 1)),
        "/forget-streams" => return Step::Forget(Thing::Stream, number(query, "count", 1)),
        "/huge-call" => return Step::HugeCall(number(query, "mib", 9)),
        "/exhaust" => exhaust(),
        "/park-mid" => Answer::filler(bytes, false, End::Park),
        "/no-response" => return Step::NoResponse,
        "/no-body" => return Step::NoBody,
        "/headers" => return Step::Headers,
        "/stop" => return Step::RequestStop,
        "/state" => return Step::State,
        "/trailers" => {
            Answer { status: 200, body: Body::Text("body".to_string()), sized: false, end: End::Trailers }
        }
        "/healthz" => match memory::broken() {
            None => Answer::text("well"),
            Some(Broken::Error) => Answer::text("not well").with_status(500),
            Some(Broken::Hangs) => return Step::Park,
            Some(Broken::Spins) => misdeeds::spin(),
        },
        "/break" => break_down(value(query, "how").unwrap_or("error")),
        "/fetch" => return Step::Fetch(url(query)),
        "/leak" => leak(value(query, "path").unwrap_or("/data/leak")),
        "/grow" => grow(number(query, "mib", 1)),
        "/status-line" => Answer::text("status").with_status(number(query, "code", 200).min(65535) as u16),
        other => Answer::text(format!("the lab knows no {other}")).with_status(404),
    })
}

fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then_some(value)
    })
}

fn number(query: &str, key: &str, default: u64) -> u64 {
    value(query, key).and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The rest of the query behind `url=`, with or without percent-encoding.
fn url(query: &str) -> String {
    let text = query.split_once("url=").map_or("", |(_, url)| url).as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match hex.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(code) => {
                decoded.push(code);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What `/healthz` of this instance is from now on.
fn break_down(how: &str) -> Answer {
    memory::break_down(match how {
        "error" => Broken::Error,
        "hang" => Broken::Hangs,
        "spin" => Broken::Spins,
        other => return Answer::text(format!("unknown: how={other}")).with_status(400),
    });
    Answer::text("broken")
}

/// Opens a file for good.
fn leak(path: &str) -> Answer {
    match std::fs::File::open(path) {
        Ok(file) => {
            std::mem::forget(file);
            Answer::text("leaked")
        }
        Err(error) => Answer::text(error.to_string()).with_status(500),
    }
}

/// Takes memory for good, and touches it.
fn grow(mib: u64) -> Answer {
    let size = mib as usize * 1024 * 1024;
    let mut block: Vec<u8> = Vec::new();
    if block.try_reserve_exact(size).is_err() {
        return Answer::text(format!("{mib} MiB refused")).with_status(507);
    }
    block.resize(size, 1);
    std::hint::black_box(block.leak());
    Answer::text(format!("{mib} MiB taken"))
}

/// Takes memory until there is none.
fn exhaust() -> ! {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1; 1024 * 1024]));
    }
}

/// What the hook does: the environment variable `HOOK` says so.
pub enum Hook {
    Good,
    Error,
    Trap,
    Spin,
    Park,
    Slow(u64),
    RequestStop,
    Exit,
    Unknown(String),
}

pub fn hook() -> Hook {
    let mode = std::env::var("HOOK").unwrap_or_default();
    match mode.as_str() {
        "" | "ok" => Hook::Good,
        "error" => Hook::Error,
        "trap" => Hook::Trap,
        "spin" => Hook::Spin,
        "park" => Hook::Park,
        "request-stop" => Hook::RequestStop,
        "exit" => Hook::Exit,
        _ => match mode.strip_prefix("slow:").and_then(|text| text.parse().ok()) {
            Some(ms) => Hook::Slow(ms),
            None => Hook::Unknown(mode),
        },
    }
}
