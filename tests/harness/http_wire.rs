//! An HTTP/1 client that shows what is on the wire: bytes go out as they are, and of each answer it can be told
//! whether it is whole, was cut off, or never began.

use std::io::{self, ErrorKind, Read, Write};

use super::http_parser::Parser;
use super::process::unread;
use super::{Address, Answer, Stream, Trust, until};

/// What became of one request.
#[derive(Debug)]
pub enum Fate {
    /// The whole answer has come.
    Answered(Answer),
    /// The connection ended inside the answer, and its client can tell: what its framing promised has not come, or
    /// the connection was reset.
    Aborted { partial: Answer, reset: bool },
    /// The connection was closed before the first byte of an answer.
    Closed,
    /// The same by a reset, or because it could not even be sent.
    Reset,
}

impl Fate {
    #[track_caller]
    pub fn answered(self) -> Answer {
        match self {
            Fate::Answered(answer) => answer,
            other => panic!("no whole answer: {other:?}"),
        }
    }

    /// The part that came of an answer that its client can see to be cut off.
    #[track_caller]
    pub fn aborted(self) -> Answer {
        match self {
            Fate::Aborted { partial, .. } => partial,
            Fate::Answered(answer) => panic!("it looks whole: {:?} {:.200}", answer.headers, answer.text()),
            other => panic!("no answer was begun: {other:?}"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    authority: String,
    parser: Parser,
}

impl Wire {
    #[track_caller]
    pub fn connect(address: &Address) -> Wire {
        Wire::try_connect(address).unwrap_or_else(|error| panic!("{address:?}: {error}"))
    }

    pub fn try_connect(address: &Address) -> io::Result<Wire> {
        Ok(Wire::over(address.connect()?, address))
    }

    /// With TLS, and these protocols for ALPN.
    #[track_caller]
    pub fn connect_tls(address: &Address, trust: &Trust, protocols: &[&str]) -> Wire {
        let tcp = match address.connect().unwrap() {
            Stream::Tcp(stream) => stream,
            other => panic!("TLS over {other:?}"),
        };
        Wire::over(Stream::Tls(Box::new(trust.handshake(tcp, protocols))), address)
    }

    pub fn over(stream: Stream, address: &Address) -> Wire {
        Wire { stream, authority: address.authority(), parser: Parser::new("GET", Vec::new()) }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The head of a request, with more headers, each with its line end.
    pub fn head_of(&self, method: &str, path: &str, headers: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.authority)
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())?;
        self.stream.flush()
    }

    #[track_caller]
    pub fn send_get(&mut self, path: &str) {
        let head = self.head_of("GET", path, "");
        self.send(head);
    }

    /// GET, of which the host has read every byte when this returns: it is under way.
    #[track_caller]
    pub fn begin_get(&mut self, path: &str) {
        self.send_get(path);
        self.until_read();
    }

    /// Waits until the host has taken everything that was sent out of its socket.
    #[track_caller]
    pub fn until_read(&self) {
        let stream = self.stream.tcp();
        until("the host's look at the request", || (unread(stream) == Some(0)).then_some(()));
    }

    /// Begins a request to a lab that is in flight until [`Wire::release`]: the only byte of its body has not been sent.
    #[track_caller]
    pub fn hold(&mut self) {
        self.send(self.head_of("POST", "/echo", "content-length: 1\r\n"));
        self.until_read();
    }

    #[track_caller]
    pub fn release(&mut self) {
        self.send("x");
        assert_eq!(self.fate().answered().expect(200).text(), "x");
    }

    /// Leaves at once, by a reset. The end of what it sends alone would only say that it has no more to send.
    #[track_caller]
    pub fn leave(self) {
        socket2::SockRef::from(self.stream.tcp()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// GET and its whole answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.send_get(path);
        self.fate().answered()
    }

    /// A request with a body of known length, and its whole answer.
    #[track_caller]
    pub fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        let head = self.head_of("POST", path, &format!("content-length: {}\r\n", body.len()));
        self.send(head);
        self.send(body);
        self.fate().answered()
    }

    /// What becomes of the request that was sent; its method was not HEAD.
    #[track_caller]
    pub fn fate(&mut self) -> Fate {
        self.fate_of("GET")
    }

    #[track_caller]
    pub fn fate_of(&mut self, method: &str) -> Fate {
        self.expect_answer_to(method);
        self.rest()
    }

    /// Begins to read the answer to the next request: needed before `head` and `piece`.
    pub fn expect_answer_to(&mut self, method: &str) {
        let parser = std::mem::replace(&mut self.parser, Parser::new(method, Vec::new()));
        self.parser = Parser::new(method, parser.rest());
    }

    /// The head of an answer whose body is still to come.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        self.expect_answer_to("GET");
        while !self.parser.has_head() {
            if let Err(end) = self.more() {
                panic!("the connection ended before the head: {end:?}");
            }
        }
        self.parser.answer.clone()
    }

    /// The next bytes of the body; `None` when it is whole, an error when it never will be.
    #[track_caller]
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>, Cut> {
        loop {
            if !self.parser.answer.body.is_empty() {
                return Ok(Some(std::mem::take(&mut self.parser.answer.body)));
            }
            if self.parser.is_done() {
                return Ok(None);
            }
            match self.more() {
                Ok(()) => {}
                Err(Cut::End) if self.parser.lasts_until_close() => return Ok(None),
                Err(cut) => return Err(cut),
            }
        }
    }

    /// Reads on to the end of the answer.
    #[track_caller]
    pub fn rest(&mut self) -> Fate {
        while !self.parser.is_done() {
            let Err(cut) = self.more() else { continue };
            let partial = std::mem::take(&mut self.parser.answer);
            return match cut {
                _ if !self.parser.began && cut == Cut::End => Fate::Closed,
                _ if !self.parser.began => Fate::Reset,
                Cut::End if self.parser.lasts_until_close() => Fate::Answered(partial),
                cut => Fate::Aborted { partial, reset: cut == Cut::Reset },
            };
        }
        Fate::Answered(std::mem::take(&mut self.parser.answer))
    }

    /// Waits for the end of the connection behind the last answer.
    #[track_caller]
    pub fn end(&mut self) -> Cut {
        self.expect_answer_to("GET");
        loop {
            if let Err(cut) = self.more() {
                assert!(!self.parser.began, "more came behind the last answer: {:?}", self.parser.answer);
                return cut;
            }
        }
    }

    #[track_caller]
    fn more(&mut self) -> Result<(), Cut> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Cut::End),
                Ok(read) => {
                    self.parser.feed(&buffer[..read]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        panic!("nothing came; so far: {:?}", self.parser.answer)
                    }
                    _ => return Err(Cut::Reset),
                },
            }
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Orderly.
    End,
    /// By a reset; with TLS also without its closing word.
    Reset,
}

/// Starts all threads of a component that serve connections: there is one for each core, and a connection goes to the one
/// with fewest.
#[track_caller]
pub fn start_threads(address: &Address) {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut wires: Vec<Wire> = (0..cores).map(|_| Wire::connect(address)).collect();
    for wire in &mut wires {
        wire.get("/").expect(200);
    }
}
