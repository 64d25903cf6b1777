//! The client's end of the control socket: one request, one answer.
//!
//! Invariant: an answer is at most [`MOST_BYTES`] long and harmless to a terminal. Only an order and the wait for the end of the app
//! have no time limit.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::io::{copy, sink};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::text::sanitize;

/// Longest wait for the answer to a question. The app answers within five seconds.
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 64 << 20;
/// Longest wait for the end of a process that does not listen any more: it writes its last lines.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);
/// Interval at which a wait looks at the process.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// Errors of a request to a running app.
#[derive(Debug, thiserror::Error)]
pub enum ControlClientError {
    /// No process listens on the socket.
    #[error(
        "nobody listens on the control socket {}: the app does not run, or has another `control`",
        shown(.0)
    )]
    NotRunning(PathBuf),
    /// The socket cannot be connected to.
    #[error("cannot reach the control socket {}: {}", shown(.0), .1)]
    Unreachable(PathBuf, io::Error),
    /// The manifest does not name the socket.
    #[error("{0}\nhint: name the control socket with --control PATH")]
    NoSocketNamed(String),
    /// The app refused, or failed to do it.
    #[error("{0}")]
    Refused(String),
    /// The app did not answer in time.
    #[error("the app does not answer")]
    Timeout,
    /// The connection ended before the answer.
    #[error(
        "the connection broke off before the answer: the app has ended, or it is not curfew that listens there"
    )]
    Disconnected,
    /// The system refused an event loop.
    #[error("cannot make an event loop: {0}")]
    System(io::Error),
}

fn shown(path: &Path) -> String {
    sanitize::one_line(&path.display().to_string())
}

/// A client of a control socket.
#[derive(Clone, Debug)]
pub struct ControlClient {
    path: PathBuf,
}

impl ControlClient {
    /// Does not connect yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Sends a question, and returns the document of the answer.
    ///
    /// # Errors
    /// When there is no answer within ten seconds, or it is an error.
    ///
    /// # Cancel safety
    /// Safe: a question changes nothing.
    pub async fn get(&self, target: &str) -> Result<String, ControlClientError> {
        timeout(PATIENCE, self.exchange(Method::GET, target))
            .await
            .map_err(|_| ControlClientError::Timeout)?
    }

    /// Sends an order, waits until it is carried out, and returns the app's answer.
    ///
    /// # Errors
    /// When no process listens, or the app refuses.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the order back.
    pub async fn post(&self, target: &str) -> Result<String, ControlClientError> {
        let document = self.exchange(Method::POST, target).await?;
        Ok(sanitize::lines(&field(&document, "done").unwrap_or(document)))
    }

    /// Returns the process that listens on the socket, if there is one and the system shows it.
    pub async fn process(&self) -> Option<i32> {
        UnixStream::connect(&self.path).await.ok()?.peer_cred().ok()?.pid().filter(|pid| *pid > 0)
    }

    /// Waits until this process does not listen on the socket any more, and has ended.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub async fn ended(&self, process: Option<i32>) {
        // The app closes a connection without a request after some seconds, and each one at its end.
        while let Ok(mut stream) = UnixStream::connect(&self.path).await
            && stream.peer_cred().is_ok_and(|peer| process.is_none() || peer.pid() == process)
        {
            let _closed = copy(&mut stream, &mut sink()).await;
            sleep(EXIT_POLL).await;
        }
        let gone = |pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH);
        let exit = async {
            while process.is_some_and(|pid| !gone(pid)) {
                sleep(EXIT_POLL).await;
            }
        };
        // A parent that does not wait for the process keeps its number.
        let _kept = timeout(EXIT_PATIENCE, exit).await;
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<String, ControlClientError> {
        let path = self.path.clone();
        let stream = UnixStream::connect(&self.path).await.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlClientError::NotRunning(path)
            }
            _ => ControlClientError::Unreachable(path, cause),
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| ControlClientError::Disconnected)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(target).header(http::header::HOST, "curfew");
        let request = request.body(String::new()).map_err(|_| ControlClientError::Disconnected)?;
        let answer = sender.send_request(request).await.map_err(|_| ControlClientError::Disconnected)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|_| ControlClientError::Disconnected)?.to_bytes();
        let document = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::OK {
            return Ok(document);
        }
        let told = field(&document, "error").unwrap_or_else(|| format!("the app answers {status}"));
        Err(ControlClientError::Refused(sanitize::lines(&told)))
    }
}

fn field(document: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(document).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use super::super::{Admin, Operator, OperatorOrder, OperatorRefusal, OperatorRequest, RefusalKind};
    use super::*;

    /// Reloads, and refuses the rest with a text that a terminal would obey.
    struct Reloads;

    impl Operator for Reloads {
        fn ask(&self, request: OperatorRequest) {
            let text = "stopping\u{1b}[2J".to_owned();
            let _gone = match request {
                OperatorRequest::Order(OperatorOrder::Reload, answer) => {
                    answer.send(Ok("2 components\u{9b}1m".to_owned()))
                }
                OperatorRequest::Order(_, answer) => {
                    answer.send(Err(OperatorRefusal { kind: RefusalKind::Stopping, text }))
                }
                OperatorRequest::Snapshot(answer) => {
                    answer.send(Box::default()).map_err(|_| Ok(String::new()))
                }
            };
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn what_an_app_says_comes_back_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _admin = Admin::start(Some(path.clone()), None, Arc::new(Reloads), || {}).unwrap();
        let client = ControlClient::new(path);
        run(async {
            assert_eq!(client.post("/reload").await.unwrap(), "2 components 1m");
            let refused = client.post("/restart?component=web").await.unwrap_err();
            assert!(
                matches!(&refused, ControlClientError::Refused(text) if text == "stopping [2J"),
                "{refused}"
            );
            assert!(client.get("/status").await.unwrap().contains("\"components\":[]"));
            assert!(matches!(client.get("/none").await, Err(ControlClientError::Refused(_))));
        });
    }

    #[test]
    fn a_socket_without_an_app_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let client = ControlClient::new(path.clone());
        let error = || run(client.get("/status")).unwrap_err();
        assert!(matches!(error(), ControlClientError::NotRunning { .. }));
        drop(UnixListener::bind(&path).unwrap());
        let error = error();
        assert!(matches!(error, ControlClientError::NotRunning { .. }), "{error}");
        assert!(error.to_string().contains("nobody listens"), "{error}");
    }

    #[test]
    fn another_server_is_no_app() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            use std::io::Write;
            listener.accept().unwrap().0.write_all(b"+PONG\r\n").unwrap();
        });
        assert!(matches!(
            run(ControlClient::new(path).get("/status")),
            Err(ControlClientError::Disconnected)
        ));
        other.join().unwrap();
    }
}
