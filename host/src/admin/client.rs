//! The client's end of the control socket: one request, one answer.
//!
//! Invariant: nothing that comes back is larger than [`MOST_BYTES`] or can do anything to a terminal, and only an
//! order may take its time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::teardown::ExitCode;
use crate::text::sanitize;

/// Longest wait for an app that only has to tell something. It answers within five seconds itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const MOST_BYTES: usize = 64 << 20;

/// Why a running app could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no such app.
    #[error(
        "nobody listens on the control socket {}: the app does not run, or has another `control`",
        shown(path)
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
    },
    /// It cannot be reached.
    #[error("cannot reach the control socket {}: {cause}", shown(path))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Which socket is meant is not clear.
    #[error("{0}\nhint: name the control socket with --control PATH")]
    WhichSocket(String),
    /// It said no, or that it failed.
    #[error("{0}")]
    Refused(String),
    /// It did not answer in time.
    #[error("the app does not answer")]
    Silent,
    /// It ended before it answered.
    #[error(
        "the connection broke off before the answer: the app has ended, or it is not curfew that listens there"
    )]
    Lost,
    /// The system refused something.
    #[error("cannot make an event loop: {0}")]
    System(io::Error),
}

fn shown(path: &Path) -> String {
    sanitize::one_line(&path.display().to_string())
}

impl ClientError {
    /// Returns the code that the process leaves with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Nobody { .. } | Self::Unreachable { .. } | Self::System(_) => ExitCode::UNAVAILABLE,
            Self::WhichSocket(_) => ExitCode::USAGE,
            Self::Refused(_) | Self::Silent | Self::Lost => ExitCode::FAILED,
        }
    }
}

/// A control socket from outside.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Returns a client of this socket. Connects to nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Asks for something that is there, and returns the document as it came, harmless to a terminal.
    ///
    /// # Errors
    /// When nobody answers within ten seconds, or with anything but the document.
    ///
    /// # Cancel safety
    /// Can be dropped; nothing is changed by asking.
    pub async fn get(&self, target: &str) -> Result<String, ClientError> {
        timeout(PATIENCE, self.exchange(Method::GET, target)).await.map_err(|_| ClientError::Silent)?
    }

    /// Gives an order, waits until it is carried out, and returns what the app says about it.
    ///
    /// # Errors
    /// When nobody listens, or the app refuses.
    ///
    /// # Cancel safety
    /// Dropping the future takes no order back.
    pub async fn post(&self, target: &str) -> Result<String, ClientError> {
        let document = self.exchange(Method::POST, target).await?;
        Ok(sanitize::lines(&field(&document, "done").unwrap_or(document)))
    }

    async fn exchange(&self, method: Method, target: &str) -> Result<String, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|cause| self.unreachable(cause))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|_| ClientError::Lost)?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(target).header(http::header::HOST, "curfew");
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| ClientError::Lost)?;
        let answer = sender.send_request(request).await.map_err(|_| ClientError::Lost)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|_| ClientError::Lost)?.to_bytes();
        let document = String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::OK {
            return Ok(document);
        }
        let told = field(&document, "error").unwrap_or_else(|| format!("the app answers {status}"));
        Err(ClientError::Refused(sanitize::lines(&told)))
    }

    fn unreachable(&self, cause: io::Error) -> ClientError {
        let path = self.path.clone();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Nobody { path },
            _ => ClientError::Unreachable { path, cause },
        }
    }
}

/// Returns a text of a JSON object.
fn field(document: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(document).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use super::super::{Admin, AdminParts, Operator, OperatorRequest, Refusal, RefusalKind};
    use super::*;

    /// Reloads, and refuses the rest with a text that a terminal would obey.
    struct Reloads;

    impl Operator for Reloads {
        fn ask(&self, question: OperatorRequest) {
            let text = "stopping\u{1b}[2J".to_owned();
            let _gone = match question {
                OperatorRequest::Reload(answer) => answer.send(Ok("2 components\u{9b}1m".to_owned())),
                OperatorRequest::Stop { answer, .. } | OperatorRequest::Restart { answer, .. } => {
                    answer.send(Err(Refusal { why: RefusalKind::Stopping, text }))
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
        let parts = AdminParts {
            control: Some(path.clone()),
            admin: None,
            operator: Arc::new(Reloads),
            died: Box::new(|| {}),
        };
        let _operate = Admin::start(parts).unwrap();
        let client = Client::new(path);
        run(async {
            assert_eq!(client.post("/reload").await.unwrap(), "2 components 1m");
            let refused = client.post("/restart?component=web").await.unwrap_err();
            assert_eq!(
                (refused.exit_code(), refused.to_string()),
                (ExitCode::FAILED, "stopping [2J".to_owned())
            );
            assert!(client.get("/status").await.unwrap().contains("\"components\":[]"));
            assert!(matches!(client.get("/none").await, Err(ClientError::Refused(_))));
        });
    }

    #[test]
    fn a_socket_without_an_app_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let client = Client::new(path.clone());
        let code = || run(client.get("/status")).unwrap_err();
        assert!(matches!(code(), ClientError::Nobody { .. }));
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(
            (code().exit_code(), code().to_string().contains("nobody listens")),
            (ExitCode::UNAVAILABLE, true)
        );
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
        assert!(matches!(run(Client::new(path).get("/status")), Err(ClientError::Lost)));
        other.join().unwrap();
    }
}
