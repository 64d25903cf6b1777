//! An operator at the control socket: requests as curl would send them, and what they are answered with.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::{App, patience, until};

/// Where the control socket is when a manifest has `CONTROL` in its `[app]`.
const SOCKET: &str = "control.sock";
/// The key of `[app]` that lets tests ask and order.
pub const CONTROL: &str = "control = \"control.sock\"";

/// An answer over the control socket.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub body: Value,
}

impl Told {
    #[track_caller]
    pub fn expect(self, status: u16) -> Told {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A request that has been sent and has not been answered.
pub struct Order(UnixStream);

impl Order {
    #[track_caller]
    pub fn answer(mut self) -> Told {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        Told { status: status.unwrap_or_else(|| panic!("no status: {text:?}")), body }
    }
}

/// One component in the status: one generation of it.
#[derive(Clone, Debug)]
pub struct State(Value);

impl State {
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// Whether it is told, and not null.
    pub fn has(&self, key: &str) -> bool {
        !self.0[key].is_null()
    }

    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("{key} is no number in {}", self.0))
    }
}

impl App {
    /// Sends an order and does not wait for its answer.
    #[track_caller]
    pub fn begin_order(&self, method: &str, path: &str) -> Order {
        let socket: PathBuf = self.path().join(SOCKET);
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: curfew\r\nconnection: close\r\n\r\n").unwrap();
        Order(stream)
    }

    #[track_caller]
    pub fn order(&self, path: &str) -> Told {
        self.begin_order("POST", path).answer()
    }

    /// The status as JSON.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.begin_order("GET", "/status").answer().expect(200).body
    }

    /// The metrics as a scraper gets them.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let Order(mut stream) = self.begin_order("GET", "/metrics");
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// All generations of this component, the newest last.
    #[track_caller]
    pub fn generations(&self, component: &str) -> Vec<State> {
        let status = self.status();
        let all = status["components"].as_array().unwrap().iter();
        let mut found: Vec<State> =
            all.filter(|state| state["name"] == component).map(|state| State(state.clone())).collect();
        found.sort_by_key(|state| state.number("generation"));
        found
    }

    /// The newest generation of this component.
    #[track_caller]
    pub fn component(&self, name: &str) -> State {
        self.generations(name).pop().unwrap_or_else(|| panic!("no {name} in {}", self.status()))
    }

    /// Waits until this component has no other generation than this one, and that one runs.
    #[track_caller]
    pub fn wait_for_generation(&self, component: &str, generation: u64) {
        until(&format!("{component} in generation {generation} alone"), || {
            let all = self.generations(component);
            let [only] = all.as_slice() else { return None };
            (only.number("generation") == generation && only.text("state") == "running").then_some(())
        });
    }
}
