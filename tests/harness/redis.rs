//! A real redis-server for one test, and as much of a client as the tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{free_port, patience};

/// A running server; ended and forgotten when dropped.
pub struct Redis {
    child: Child,
    pub port: u16,
    client: BufReader<TcpStream>,
    dir: TempDir,
}

/// An answer of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Text(String),
    Number(i64),
    List(Vec<Reply>),
    Null,
}

impl Reply {
    #[track_caller]
    pub fn list(self) -> Vec<Reply> {
        match self {
            Reply::List(items) => items,
            Reply::Null => Vec::new(),
            other => panic!("{other:?} is not a list"),
        }
    }

    #[track_caller]
    pub fn text(self) -> String {
        match self {
            Reply::Text(text) => text,
            other => panic!("{other:?} is not a text"),
        }
    }
}

impl Redis {
    /// Starts a server on a free port. `None`, with the reason on standard error, when there is no
    /// redis-server; in CI that is a failure, since the promise would go untested.
    pub fn start() -> Option<Redis> {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut child = match spawn(&dir, port) {
            Ok(child) => child,
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "redis-server: {error}");
                eprintln!("skipped: redis-server could not be started: {error}");
                return None;
            }
        };
        let stream = connect(&mut child, port).expect("redis-server comes up");
        Some(Redis { child, port, client: BufReader::new(stream), dir })
    }

    /// Ends the server, which forgets everything. Nobody listens on its port until it is back.
    pub fn away(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again, on the same port.
    #[track_caller]
    pub fn back(&mut self) {
        self.child = spawn(&self.dir, self.port).unwrap();
        let stream = connect(&mut self.child, self.port).expect("redis-server did not come back");
        self.client = BufReader::new(stream);
    }

    #[track_caller]
    pub fn call(&mut self, words: &[&str]) -> Reply {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.client.get_mut().write_all(request.as_bytes()).unwrap();
        self.read()
    }

    #[track_caller]
    fn read(&mut self) -> Reply {
        let mut line = String::new();
        self.client.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" => Reply::Text(rest.to_string()),
            ":" => Reply::Number(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Reply::Null,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.client.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8(bytes).unwrap())
            }
            "*" => Reply::List((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("redis-server answered {line}"),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.away();
    }
}

fn spawn(dir: &TempDir, port: u16) -> std::io::Result<Child> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    command.current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn connect(child: &mut Child, port: u16) -> Option<TcpStream> {
    let end = Instant::now() + patience();
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.set_read_timeout(Some(patience())).unwrap();
            return Some(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
