//! The thread behind the control socket and the admin listener.
//!
//! Invariant: at most [`CONNECTIONS`] clients at a time on each of the two, so that a flood on one does not lock out the
//! other, and an idle client locks out no other client. The thread ends when its owner drops it, and by nothing else.
//!
//! hyper serves each connection; the accept loop and the stop are our own. `axum::serve` accepts without a limit, sets
//! no limit on the time or size of a request's head, and its graceful stop waits for each connection without a bound.
//! hyper-util's `GracefulShutdown` has neither a bound nor a place to evict, which a `JoinSet` with a timeout has.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{ClientSlot, serve};
use super::error::AdminError;
use super::request::Operator;
use super::router::{AccessScope, Router};
use super::socket::{ControlFile, bind_admin};
use crate::fail_point;
use crate::text::sanitize::one_line;

/// Most clients at a time on one listener. Further clients take the places of idle ones, or wait.
const CONNECTIONS: usize = 64;
/// Pause after an error that only time can mend, such as a shortage of descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long clients may take for their last answers when the listeners close.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// Settings of [`Admin`].
pub struct AdminParts {
    /// The control socket's path; `None` is no control socket.
    pub control: Option<PathBuf>,
    /// The admin listener's address; `None` is no admin listener. With port 0 the system chooses a free port.
    pub admin: Option<SocketAddr>,
    /// Answers the requests.
    pub operator: Arc<dyn Operator>,
    /// Called when the thread dies, which is a bug.
    pub died: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for AdminParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { control, admin, .. } = self;
        f.debug_struct("AdminParts").field("control", control).field("admin", admin).finish_non_exhaustive()
    }
}

/// The control socket and the admin listener of a running app. Dropping it closes both: pending requests get an answer
/// within 100 ms, and the socket's file is removed.
#[derive(Debug)]
pub struct Admin {
    closing: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    control: Option<ControlFile>,
    admin: Option<SocketAddr>,
}

impl Admin {
    /// Binds both and starts the thread; with neither configured there is no thread.
    ///
    /// # Errors
    /// When one of them cannot be bound; nothing is left bound then.
    pub fn start(parts: AdminParts) -> Result<Self, AdminError> {
        let AdminParts { control, admin, operator, died } = parts;
        let (closing, watch_closing) = watch::channel(false);
        let control = control.map(|path| match ControlFile::bind(&path) {
            Ok(bound) => Ok(bound),
            Err(problem) => Err(AdminError::Control { path, problem }),
        });
        let (control, control_listener) = control.transpose()?.unzip();
        let admin = admin.map(|address| {
            let bound = bind_admin(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
            bound.map_err(|cause| AdminError::Admin { address, cause })
        });
        let (admin, admin_listener) = admin.transpose()?.unzip();
        let mut admin = Self { closing, thread: None, control, admin };
        if control_listener.is_none() && admin_listener.is_none() {
            return Ok(admin);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AdminError::Thread)?;
        let in_runtime = runtime.enter();
        let control = control_listener.map(UnixListener::from_std).transpose().map_err(AdminError::Thread)?;
        let listener = admin_listener.map(TcpListener::from_std).transpose().map_err(AdminError::Thread)?;
        drop(in_runtime);
        let router = Arc::new(Router::new(operator, watch_closing.clone()));
        let work = AdminThread { router, closing: watch_closing };
        let thread = std::thread::Builder::new().name("curfew-admin".to_owned()).spawn(move || {
            let run = AssertUnwindSafe(|| runtime.block_on(work.run(control, listener)));
            if catch_unwind(run).is_err() {
                died();
            }
        });
        admin.thread = Some(thread.map_err(AdminError::Thread)?);
        admin.log("open");
        Ok(admin)
    }

    /// Returns the admin listener's address, with the port that it got.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns the control socket's path.
    pub fn control(&self) -> Option<&Path> {
        self.control.as_ref().map(ControlFile::path)
    }

    fn log(&self, state: &str) {
        if let Some(path) = self.control() {
            tracing::info!(path = one_line(&path.display().to_string()), "control socket {state}");
        }
        if let Some(address) = self.admin {
            tracing::info!(address = %format_args!("http://{address}"), "admin listener {state}");
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.log("closed");
            // Before the listener closes: from then on another process may bind that path.
            self.control = None;
            self.closing.send_replace(true);
            // A panic of the thread was reported when it happened.
            let _died = thread.join();
        }
    }
}

/// State of the thread `curfew-admin`.
struct AdminThread {
    router: Arc<Router>,
    closing: watch::Receiver<bool>,
}

impl AdminThread {
    async fn run(self, control: Option<UnixListener>, admin: Option<TcpListener>) {
        let control = async {
            if let Some(listener) = control {
                let accept = async || listener.accept().await.map(|(stream, _)| stream);
                self.accept("the control socket", AccessScope::Control, accept).await;
            }
        };
        let admin = async {
            if let Some(listener) = admin {
                let accept = async || listener.accept().await.map(|(stream, _)| stream);
                self.accept("the admin listener", AccessScope::Admin, accept).await;
            }
        };
        tokio::join!(control, admin);
    }

    /// Accepts and serves clients until the listeners close.
    async fn accept<S>(&self, what: &str, scope: AccessScope, mut accept: impl AsyncFnMut() -> io::Result<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut clients = JoinSet::new();
        let mut slots = VecDeque::<Arc<ClientSlot>>::new();
        let mut closing = self.closing.clone();
        let mut logged = false;
        let mut arrived = None;
        loop {
            let next = async {
                let accepted = match &arrived {
                    Some(_waits) => Ok(()),
                    None => accept().await.map(|stream| arrived = Some(stream)),
                };
                if room.available_permits() == 0 {
                    make_room(&mut slots);
                }
                (room.clone().acquire_owned().await, accepted)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => break,
                Some(ended) = clients.join_next() => {
                    // A panic in a connection is a bug like the death of the thread.
                    if let Err(Ok(death)) = ended.map_err(JoinError::try_into_panic) {
                        resume_unwind(death);
                    }
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok(()) => {
                    fail_point::reach("admin");
                    logged = false;
                    let Some(stream) = arrived.take() else { continue };
                    let slot = Arc::new(ClientSlot::default());
                    slots.retain(|slot| Arc::strong_count(slot) > 1);
                    slots.push_back(slot.clone());
                    let served = serve(stream, self.router.clone(), scope, self.closing.clone(), slot);
                    clients.spawn(async move {
                        fail_point::reach("admin-client");
                        served.await;
                        drop(place);
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !logged {
                        tracing::warn!(%error, "cannot accept on {what}, trying on");
                        logged = true;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        let last = async { while clients.join_next().await.is_some() {} };
        // A client that does not read is cut off with the thread.
        let _unread = timeout(LAST_ANSWERS, last).await;
    }
}

/// Evicts the oldest client that has sent no request.
fn make_room(slots: &mut VecDeque<Arc<ClientSlot>>) {
    if let Some(at) = slots.iter().position(|slot| !slot.has_request())
        && let Some(slot) = slots.remove(at)
    {
        slot.evict();
    }
}

#[cfg(test)]
mod tests;
