//! Where a component is reached that the host listens for: the addresses that the host says it listens on, and a byte stream to one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::capture::Said;
use super::{App, component, patience};

/// An address as in the record `listening`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    Tcp(SocketAddr),
    Tls(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    #[track_caller]
    pub fn parse(text: &str) -> Address {
        let socket =
            |text: &str| text.trim_end_matches('/').parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        for scheme in ["http://", "tcp://"] {
            if let Some(text) = text.strip_prefix(scheme) {
                return Address::Tcp(socket(text));
            }
        }
        for scheme in ["https://", "tls://"] {
            if let Some(text) = text.strip_prefix(scheme) {
                return Address::Tls(socket(text));
            }
        }
        let path = text.strip_prefix("unix:").unwrap_or_else(|| panic!("{text:?} is no address"));
        Address::Unix(path.into())
    }

    #[track_caller]
    pub fn socket(&self) -> SocketAddr {
        match self {
            Address::Tcp(address) | Address::Tls(address) => *address,
            Address::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    /// What a client puts into `host`.
    pub fn authority(&self) -> String {
        match self {
            Address::Tcp(address) | Address::Tls(address) => address.to_string(),
            Address::Unix(_) => "localhost".to_string(),
        }
    }

    /// A plain stream; TLS comes on top of it.
    pub fn connect(&self) -> io::Result<Stream> {
        let stream = match self {
            Address::Tcp(address) | Address::Tls(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(patience()))?;
                stream.set_write_timeout(Some(patience()))?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(patience()))?;
                stream.set_write_timeout(Some(patience()))?;
                Stream::Unix(stream)
            }
        };
        Ok(stream)
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Stream {
    /// Says that no more will be sent.
    pub fn finish(&self) {
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
            Stream::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
        };
    }

    /// The socket below.
    #[track_caller]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
            Stream::Unix(_) => panic!("a unix socket is no TCP socket"),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(buffer),
            Stream::Unix(stream) => stream.write(buffer),
            Stream::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.flush(),
            Stream::Unix(stream) => stream.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// The table of an http component on one port of the system's choice; `keys` is TOML.
pub fn web(name: &str, source: &str, keys: &str) -> String {
    component(name, source, &format!("listen = [\"127.0.0.1:0\"]\n{keys}"))
}

impl App {
    /// The only address of this component.
    #[track_caller]
    pub fn address(&self, component: &str) -> Address {
        self.addresses(component, 1).remove(0)
    }

    /// Its addresses, in the order in which the host tells of them.
    #[track_caller]
    pub fn addresses(&self, component: &str, count: usize) -> Vec<Address> {
        self.wait_until(&format!("{count} addresses of {component}"), |said| {
            let found = listening(said, component);
            (found.len() >= count).then_some(found)
        })
    }
}

fn listening(said: &Said, component: &str) -> Vec<Address> {
    let records = said.records.iter().filter(|record| record.message() == "listening");
    let records = records.filter(|record| record.text("component").split(", ").any(|name| name == component));
    records.map(|record| Address::parse(&record.text("address"))).collect()
}
