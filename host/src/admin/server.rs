//! The thread behind the control socket and the admin listener.
//!
//! Invariant: at most [`CONNECTIONS`] clients at a time on each of the two, so that a flood on one does not lock out the
//! other. A client that takes its time, before its request has come or behind its answer, locks out no other. Only its owner ends the thread.
//!
//! The accept loop and the stop are our own. `axum::serve` bounds neither connections, nor a request's head, nor the wait
//! of its graceful stop. hyper-util's `GracefulShutdown` has neither a bound nor a place to evict.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::OptionFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{ClientSlot, serve};
use super::request::Operator;
use super::router::{AccessScope, Router};
use super::socket::{ControlFile, ControlSocketProblem, bind_admin};
use crate::fail_point;
use crate::text::sanitize::one_line;

/// Most clients at a time on one listener.
const CONNECTIONS: usize = 64;
/// Pause after an error that only time can mend, such as a shortage of descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// Time for the last answers when the listeners close.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// An error at the start: what, where, what to do. Nothing is left bound then.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The control socket.
    #[error("cannot listen on the control socket {}: {}", one_line(&.0.display().to_string()), .1)]
    Control(PathBuf, ControlSocketProblem),
    /// The admin listener.
    #[error("cannot listen on the admin address {0}: {1}")]
    Admin(SocketAddr, io::Error),
    /// The thread behind both.
    #[error("cannot start the thread of the control socket and the admin listener: {0}")]
    Thread(io::Error),
}

/// The control socket and the admin listener of a running app. Dropping it closes both: pending requests get an answer
/// within 100 ms, and the socket's file is removed.
#[derive(Debug)]
pub struct Admin {
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    control: Option<ControlFile>,
    admin: Option<SocketAddr>,
}

impl Admin {
    /// Binds what is configured of the two, and starts the thread. `died` is called if the thread dies, which is a bug.
    pub(crate) fn start(
        control: Option<PathBuf>,
        admin: Option<SocketAddr>,
        operator: Arc<dyn Operator>,
        died: impl FnOnce() + Send + 'static,
    ) -> Result<Self, AdminError> {
        let control = control
            .map(|path| ControlFile::bind(&path).map_err(|problem| AdminError::Control(path, problem)));
        let (control, control_listener) = control.transpose()?.unzip();
        let admin =
            admin.map(|address| bind_admin(address).map_err(|cause| AdminError::Admin(address, cause)));
        let (admin, admin_listener) = admin.transpose()?.unzip();
        let (closing, watch_closing) = watch::channel(false);
        let router = Arc::new(Router { operator, closing: watch_closing });
        let thread = spawn(router, control_listener, admin_listener, died).map_err(AdminError::Thread)?;
        let admin = Self { closing, thread: Some(thread), control, admin };
        admin.log("open");
        Ok(admin)
    }

    fn log(&self, state: &str) {
        if let Some(file) = &self.control {
            tracing::info!(path = one_line(&file.path.display().to_string()), "control socket {state}");
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
            let _died = thread.join();
        }
    }
}

fn spawn(
    router: Arc<Router>,
    control: Option<std::os::unix::net::UnixListener>,
    admin: Option<std::net::TcpListener>,
    died: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let in_runtime = runtime.enter();
    let control = control.map(UnixListener::from_std).transpose()?;
    let admin = admin.map(TcpListener::from_std).transpose()?;
    drop(in_runtime);
    std::thread::Builder::new().name("curfew-admin".to_owned()).spawn(move || {
        let run = AssertUnwindSafe(|| runtime.block_on(serve_both(&router, control, admin)));
        if catch_unwind(run).is_err() {
            died();
        }
    })
}

async fn serve_both(router: &Arc<Router>, control: Option<UnixListener>, admin: Option<TcpListener>) {
    let control = control.map(|listener| {
        let accept = async move || Ok(listener.accept().await?.0);
        serve_clients(router, "the control socket", AccessScope::Control, accept)
    });
    let admin = admin.map(|listener| {
        let accept = async move || Ok(listener.accept().await?.0);
        serve_clients(router, "the admin listener", AccessScope::Admin, accept)
    });
    tokio::join!(OptionFuture::from(control), OptionFuture::from(admin));
}

async fn serve_clients<S>(
    router: &Arc<Router>,
    what: &str,
    scope: AccessScope,
    mut accept: impl AsyncFnMut() -> io::Result<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = JoinSet::new();
    let mut slots = VecDeque::<Arc<ClientSlot>>::new();
    let mut closing = router.closing.clone();
    let mut logged = false;
    let mut arrived = None;
    loop {
        let next = async {
            let accepted = match &arrived {
                Some(_waits) => Ok(()),
                None => accept().await.map(|stream| arrived = Some(stream)),
            };
            let is_short = accepted.as_ref().is_err_and(is_shortage);
            if is_short || room.available_permits() == 0 {
                evict(&mut slots);
            }
            accepted?;
            io::Result::Ok(room.clone().acquire_owned().await)
        };
        let place = tokio::select! {
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
        match place {
            Ok(place) => {
                fail_point::reach("admin");
                logged = false;
                let Some(stream) = arrived.take() else { continue };
                let slot = Arc::new(ClientSlot::default());
                slots.retain(|slot| Arc::strong_count(slot) > 1);
                slots.push_back(slot.clone());
                let served = serve(stream, router.clone(), scope, slot);
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

/// Evicts the oldest client that does not wait for its answer, if there is one.
fn evict(slots: &mut VecDeque<Arc<ClientSlot>>) {
    if let Some(at) = slots.iter().position(|slot| !slot.is_waiting())
        && let Some(slot) = slots.remove(at)
    {
        slot.evicted.notify_one();
    }
}

/// Returns whether there are no descriptors left.
fn is_shortage(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

#[cfg(test)]
mod tests;
