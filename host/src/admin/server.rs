//! The thread behind the control socket and the admin listener.
//!
//! Invariant: at most [`CONNECTIONS`] clients at a time on each of the two, so that whoever floods the one does not
//! lock out the other, and who asks nothing locks out nobody; the thread ends when its owner drops it, and by nothing
//! else.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{ClientSlot, serve};
use super::error::AdminError;
use super::request::Operator;
use super::router::{Router, Scope};
use super::socket::{ControlFile, bind_admin};
use crate::fail_point;
use crate::text::sanitize::one_line;

/// Most clients at a time on one listener. More take the places of those that have not asked anything, or wait.
const CONNECTIONS: usize = 64;
/// Pause after an error that only time or others can mend, as when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// How long clients that have asked something have for their answers when the listeners close.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// What the thread is started with.
pub struct AdminParts {
    /// The control socket's path; `None` is no control socket.
    pub control: Option<PathBuf>,
    /// The admin listener's address; `None` is no admin listener. Port 0 is one of the system's choice.
    pub admin: Option<SocketAddr>,
    /// The one who answers.
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

/// The control socket and the admin listener of a running app. Dropping it closes both: who has asked something
/// gets an answer within 100 ms, and the socket's file is removed.
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
    /// When one of them cannot be had; nothing is left bound then.
    pub fn start(parts: AdminParts) -> Result<Self, AdminError> {
        let AdminParts { control, admin, operator, died } = parts;
        let (closing, closes) = watch::channel(false);
        let control = control.map(|path| match ControlFile::bind(&path) {
            Ok(bound) => Ok(bound),
            Err(why) => Err(AdminError::Control { path, why }),
        });
        let (control, control_listener) = control.transpose()?.unzip();
        let admin = admin.map(|address| {
            let bound = bind_admin(address).and_then(|listener| Ok((listener.local_addr()?, listener)));
            bound.map_err(|cause| AdminError::Admin { address, cause })
        });
        let (admin, admin_listener) = admin.transpose()?.unzip();
        let mut operate = Self { closing, thread: None, control, admin };
        if control_listener.is_none() && admin_listener.is_none() {
            return Ok(operate);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AdminError::Thread)?;
        let work = Work { router: Arc::new(Router::new(operator, closes.clone())), closes };
        let thread = std::thread::Builder::new().name("curfew-operate".to_owned()).spawn(move || {
            let alarm = Alarm(Some(died));
            runtime.block_on(work.run(control_listener, admin_listener));
            alarm.disarm();
        });
        operate.thread = Some(thread.map_err(AdminError::Thread)?);
        operate.tell("open");
        Ok(operate)
    }

    /// Returns the admin listener's address, with the port that it got.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Returns the control socket's path.
    pub fn control(&self) -> Option<&Path> {
        self.control.as_ref().map(ControlFile::path)
    }

    fn tell(&self, state: &str) {
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
            self.tell("closed");
            // Before its listener: from then on another process can have that path.
            self.control = None;
            self.closing.send_replace(true);
            // That it died was told when it did.
            let _died = thread.join();
        }
    }
}

/// Tells of the thread's death, unless that is in order.
struct Alarm(Option<Box<dyn FnOnce() + Send>>);

impl Alarm {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(died) = self.0.take() {
            died();
        }
    }
}

/// What the thread does.
struct Work {
    router: Arc<Router>,
    closes: watch::Receiver<bool>,
}

impl Work {
    async fn run(
        self,
        control: Option<std::os::unix::net::UnixListener>,
        admin: Option<std::net::TcpListener>,
    ) {
        let control = async {
            match control.map(UnixListener::from_std) {
                Some(Ok(listener)) => {
                    let accept = |context: &mut Context<'_>| {
                        listener.poll_accept(context).map(|accepted| accepted.map(|(stream, _)| stream))
                    };
                    self.accept("the control socket", Scope::Control, accept).await;
                }
                Some(Err(error)) => tracing::error!(%error, "the control socket cannot be accepted from"),
                None => {}
            }
        };
        let admin = async {
            match admin.map(TcpListener::from_std) {
                Some(Ok(listener)) => {
                    let accept = |context: &mut Context<'_>| {
                        listener.poll_accept(context).map(|accepted| accepted.map(|(stream, _)| stream))
                    };
                    self.accept("the admin listener", Scope::Admin, accept).await;
                }
                Some(Err(error)) => tracing::error!(%error, "the admin listener cannot be accepted from"),
                None => {}
            }
        };
        tokio::join!(control, admin);
    }

    /// Serves whoever connects until the listeners close.
    async fn accept<S>(
        &self,
        what: &str,
        scope: Scope,
        mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut clients = JoinSet::new();
        let mut guests = VecDeque::<Arc<ClientSlot>>::new();
        let mut closes = self.closes.clone();
        let mut told = false;
        let mut arrived = None;
        loop {
            let next = async {
                let accepted = match &arrived {
                    Some(_waits) => Ok(()),
                    None => poll_fn(&mut accept).await.map(|stream| arrived = Some(stream)),
                };
                if room.available_permits() == 0 {
                    make_room(&mut guests);
                }
                (room.clone().acquire_owned().await, accepted)
            };
            let (place, accepted) = tokio::select! {
                biased;
                _ = closes.wait_for(|closes| *closes) => break,
                Some(ended) = clients.join_next() => {
                    // One that has died is a bug like the death of the thread.
                    if let Err(Ok(death)) = ended.map_err(JoinError::try_into_panic) {
                        resume_unwind(death);
                    }
                    continue;
                }
                next = next => next,
            };
            match accepted {
                Ok(()) => {
                    fail_point::reach("operate");
                    told = false;
                    let Some(stream) = arrived.take() else { continue };
                    let guest = Arc::new(ClientSlot::default());
                    guests.retain(|guest| Arc::strong_count(guest) > 1);
                    guests.push_back(guest.clone());
                    let served = serve(stream, self.router.clone(), scope, self.closes.clone(), guest);
                    clients.spawn(async move {
                        fail_point::reach("operate-client");
                        served.await;
                        drop(place);
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !told {
                        tracing::warn!(%error, "cannot accept on {what}, trying on");
                        told = true;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        let last = async { while clients.join_next().await.is_some() {} };
        // Who does not read is cut off with the thread.
        let _unread = timeout(LAST_ANSWERS, last).await;
    }
}

/// Sends the one away that has been there longest without asking anything.
fn make_room(guests: &mut VecDeque<Arc<ClientSlot>>) {
    if let Some(at) = guests.iter().position(|guest| !guest.has_asked())
        && let Some(guest) = guests.remove(at)
    {
        guest.send_away();
    }
}

#[cfg(test)]
mod tests;
