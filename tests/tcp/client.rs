//! A client that looks closely at how its connection ends.

use std::io::{ErrorKind, Read, Write};

use crate::harness::{Address, App, Stream};

/// How a connection ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has said that it sends no more.
    Clean,
    /// Reset.
    Reset,
}

/// One connection.
pub struct Client(pub Stream);

impl Client {
    /// A connection to the only address of this component.
    #[track_caller]
    pub fn new(app: &App, component: &str) -> Client {
        Client::at(&app.address(component))
    }

    #[track_caller]
    pub fn at(address: &Address) -> Client {
        Client(address.connect().unwrap_or_else(|error| panic!("{address:?}: {error}")))
    }

    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// The next bytes, as many as these are, which must be these.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let mut bytes = vec![0; text.len()];
        self.0.read_exact(&mut bytes).unwrap_or_else(|error| panic!("{text:?} never came: {error}"));
        assert_eq!(String::from_utf8_lossy(&bytes), text);
    }

    /// Sends a line and gets it back.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.send(&format!("{line}\n"));
        self.expect(&format!("{line}\n"));
    }

    /// Everything that still comes, and how it ends.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return (all, End::Clean),
                Ok(some) => all.extend(&buffer[..some]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return (all, End::Reset),
                Err(error) => panic!("neither bytes nor an end: {error}"),
            }
        }
    }

    /// The same as text.
    #[track_caller]
    pub fn rest_text(&mut self) -> (String, End) {
        let (bytes, end) = self.rest();
        (String::from_utf8(bytes).unwrap(), end)
    }
}
