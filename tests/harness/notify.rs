//! A service manager that listens: what the host tells it through `NOTIFY_SOCKET`, and when.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use super::{Host, patience};

/// One message, with the moment at which the test read it.
#[derive(Clone, Debug)]
pub struct Message {
    pub at: Instant,
    pub text: String,
}

impl Message {
    /// The value of `NAME=value`, if there is such a line.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it has this line; `WATCHDOG=1`, for instance.
    pub fn says(&self, line: &str) -> bool {
        self.text.lines().any(|said| said == line)
    }
}

type Heard = Arc<(Mutex<Vec<Message>>, Condvar)>;

/// The socket. It takes messages until the test is over.
pub struct Manager {
    address: String,
    heard: Heard,
    own: UnixDatagram,
    _dir: TempDir,
}

impl Manager {
    pub fn at_a_path() -> Manager {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Manager::new(socket, path.to_str().unwrap().to_string(), dir)
    }

    pub fn with_an_abstract_name() -> Manager {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().to_str().unwrap().trim_start_matches('/').to_string();
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Manager::new(socket, format!("@{name}"), dir)
    }

    fn new(socket: UnixDatagram, address: String, dir: TempDir) -> Manager {
        let heard = Heard::default();
        let own = socket.try_clone().unwrap();
        let notebook = heard.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let message = Message { at: Instant::now(), text };
                notebook.0.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                notebook.1.notify_all();
            }
        });
        Manager { address, heard, own, _dir: dir }
    }

    /// What `NOTIFY_SOCKET` is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// All messages up to now.
    pub fn heard(&self) -> Vec<Message> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All messages up to now with this line.
    pub fn all(&self, line: &str) -> Vec<Message> {
        self.heard().into_iter().filter(|message| message.says(line)).collect()
    }

    /// Waits for the first message with this line.
    #[track_caller]
    pub fn wait_for(&self, line: &str) -> Message {
        self.wait_for_nth(line, 1)
    }

    /// Waits for the message that is the `nth` one with this line; the first is 1.
    #[track_caller]
    pub fn wait_for_nth(&self, line: &str, nth: usize) -> Message {
        self.wait_until(&format!("message {nth} with {line:?}"), |heard| {
            heard.iter().filter(|message| message.says(line)).nth(nth - 1).cloned()
        })
    }

    /// Waits for the first message in which this variable is set, whatever to; `EXTEND_TIMEOUT_USEC`, for instance.
    #[track_caller]
    pub fn wait_for_value(&self, name: &str) -> Message {
        self.wait_until(&format!("a message with {name}"), |heard| {
            heard.iter().find(|message| message.value(name).is_some()).cloned()
        })
    }

    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&[Message]) -> Option<T>) -> T {
        let end = Instant::now() + patience();
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&heard) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} never came; the manager heard: {heard:#?}");
            heard = self.heard.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Ends the thread that reads.
        let _ = self.own.shutdown(std::net::Shutdown::Both);
    }
}

impl Host {
    /// Runs it as a service of this manager.
    pub fn managed_by(self, manager: &Manager) -> Host {
        self.env("NOTIFY_SOCKET", manager.address())
    }
}
