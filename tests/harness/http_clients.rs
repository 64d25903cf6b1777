//! The clients of the load: one request over a new connection, a kept one or HTTP/2, and what became of it.
//!
//! A request that was not answered is sent again only where `http_load` says so, and once.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http_load::{End, Target, Way};
use super::http_parser::Parser;
use super::{H2, Lost, patience};

/// The connections to one target that wait for their next request.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    target: Target,
    kept: RefCell<Vec<TcpStream>>,
    http2: RefCell<Option<Rc<Http2>>>,
    /// One at a time opens the next HTTP/2 connection.
    opening: tokio::sync::Mutex<()>,
}

impl Pool {
    pub fn new(target: &Target) -> Pool {
        let (kept, http2, opening) = Default::default();
        Pool(Rc::new(Inner { target: target.clone(), kept, http2, opening }))
    }

    pub fn name(&self) -> String {
        self.0.target.name.clone()
    }

    pub fn is_in_rotation(&self) -> bool {
        self.0.target.in_rotation.load(SeqCst)
    }

    /// One request, to its end, and whether it was sent a second time.
    pub async fn ask(&self, way: Way) -> (End, bool) {
        let asked = async {
            match way {
                Way::NewConnection => (self.new_connection("connection: close\r\n").await, false),
                Way::KeptConnection => self.kept_connection().await,
                Way::Http2 => self.http2().await,
            }
        };
        tokio::time::timeout(patience(), asked).await.unwrap_or((End::Hung, false))
    }

    async fn new_connection(&self, headers: &str) -> End {
        let Ok(mut stream) = TcpStream::connect(self.0.target.address.socket()).await else {
            return End::Refused;
        };
        let _ = stream.set_nodelay(true);
        let (end, keep) = self.over(&mut stream, headers).await;
        if keep {
            self.0.kept.borrow_mut().push(stream);
        }
        end
    }

    async fn kept_connection(&self) -> (End, bool) {
        let reused = self.reusable();
        let Some(mut stream) = reused else { return (self.new_connection("").await, false) };
        let (end, keep) = self.over(&mut stream, "").await;
        if keep {
            self.0.kept.borrow_mut().push(stream);
        }
        // Closed by the server while the request was on its way.
        if end == End::Unanswered { (self.new_connection("").await, true) } else { (end, false) }
    }

    /// A connection that has not been seen to be closed.
    fn reusable(&self) -> Option<TcpStream> {
        while let Some(stream) = self.0.kept.borrow_mut().pop() {
            let closed = stream.try_read(&mut [0]).map_err(|error| error.kind());
            if closed == Err(ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
        None
    }

    /// One request over this connection, and whether it can be kept.
    async fn over(&self, stream: &mut TcpStream, headers: &str) -> (End, bool) {
        let Target { address, path, .. } = &self.0.target;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", address.authority());
        let mut parser = Parser::new("GET", Vec::new());
        // When it cannot be sent, what the server has said before it closed can still be read.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut buffer = [0; 8 * 1024];
        while !parser.is_done() {
            match stream.read(&mut buffer).await {
                Ok(0) if parser.lasts_until_close() => return (End::Answered(parser.answer.status), false),
                Ok(0) | Err(_) if parser.began => return (End::Aborted, false),
                Ok(0) | Err(_) => return (End::Unanswered, false),
                Ok(read) => parser.feed(&buffer[..read]),
            }
        }
        (End::Answered(parser.answer.status), !parser.answer.closes())
    }

    async fn http2(&self) -> (End, bool) {
        for again in [false, true] {
            let Some(connection) = self.http2_connection().await else { return (End::Refused, again) };
            match connection.h2.try_get(&self.0.target.path).await {
                Ok(answer) => {
                    connection.has_answered.set(true);
                    return (End::Answered(answer.status), again);
                }
                Err(Lost::Unprocessed) => {}
                Err(Lost::Unanswered) if !connection.has_answered.get() => return (End::Unanswered, again),
                Err(_) => return (End::Aborted, again),
            }
        }
        (End::Unanswered, true)
    }

    /// The connection for new streams: another one when the server lets the last one go away.
    async fn http2_connection(&self) -> Option<Rc<Http2>> {
        let _one = self.0.opening.lock().await;
        let open = self.0.http2.borrow().clone();
        if let Some(open) = open
            && !open.h2.is_going_away().await
        {
            return Some(open);
        }
        let connected = H2::try_connect(&self.0.target.address).await.ok();
        let connected = connected.map(|h2| Rc::new(Http2 { h2, has_answered: Cell::new(false) }));
        self.0.http2.borrow_mut().clone_from(&connected);
        connected
    }
}

/// An HTTP/2 connection; before its first answer nobody knows whether it was accepted.
struct Http2 {
    h2: H2,
    has_answered: Cell<bool>,
}
