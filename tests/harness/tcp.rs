//! A client that speaks lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::patience;

/// One connection.
pub struct LineClient(BufReader<TcpStream>);

impl LineClient {
    #[track_caller]
    pub fn connect(port: u16) -> LineClient {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        stream.set_nodelay(true).unwrap();
        LineClient(BufReader::new(stream))
    }

    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line; `None` at the end of what the server sends. A reset fails the test.
    #[track_caller]
    pub fn receive(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap_or_else(|error| panic!("no whole answer: {error}"));
        (read > 0).then(|| line.trim_end().to_string())
    }

    /// Everything up to the end of what the server sends.
    #[track_caller]
    pub fn receive_all(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap_or_else(|error| panic!("no clean end: {error}"));
        text
    }

    /// Says that no more will be sent.
    pub fn finish(&self) {
        let _ = self.0.get_ref().shutdown(Shutdown::Write);
    }
}
