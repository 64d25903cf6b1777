//! The way in for embedders: start an app from a plan, send it a stop, await its report.

use super::error::AppError;
use super::event_loop::{Ended, EventLoop};
use super::guardian::Guardian;
use super::inbox::{Inbox, Message};
use super::options::Options;
use super::report::Report;
use crate::admin::Operator;
use crate::plan::Plan;
use crate::runtime::{Runtime, RuntimeOptions};

/// A running app. Dropping it lets the app run on; its report is lost then.
///
/// From the moment that its stop begins, the process leaves by the app's hard deadline, if need be by force:
/// that is what curfew is for. An embedder that does not want this runs the app in a process of its own.
#[derive(Debug)]
pub struct App {
    stopper: Stopper,
    end: tokio::sync::oneshot::Receiver<Ended>,
}

/// Stops an app, from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stopper {
    inbox: Inbox,
}

impl Stopper {
    /// Asks for a graceful stop and returns at once. Asking again changes nothing.
    pub fn stop(&self) {
        self.inbox.send(Message::Stop);
    }

    /// Reports that a part of the host died: the app stops, and its exit code is 70.
    pub fn host_bug(&self, what: &'static str) {
        self.inbox.send(Message::HostBug(what));
    }
}

impl App {
    /// Starts an app: its components are loaded, then all of them started, on threads of their own.
    ///
    /// # Errors
    /// When the engine or a thread cannot be had. Errors in components come from [`App::wait`].
    pub fn start(plan: Plan, options: Options) -> Result<Self, AppError> {
        let system = |what| move |cause| AppError::System { what, cause };
        let runtime_options = RuntimeOptions {
            cache: options.cache.clone(),
            interruptible: options.interruptible,
            kinds: options.kinds.iter().flat_map(|set| set.kinds).copied().collect(),
        };
        let runtime = Runtime::new(runtime_options).map_err(AppError::Engine)?;
        let inbox = Inbox::new().map_err(system("make an event descriptor"))?;
        let (clock, output, guard_inbox) = (runtime.clock().clone(), options.output.clone(), inbox.clone());
        // The control thread waits for its guardian: a guardian alone would take its absence for its death.
        let (give, guardian) = std::sync::mpsc::channel();
        let stopper = Stopper { inbox: inbox.clone() };
        let (tell, end) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("curfew-control".to_owned())
            .spawn(move || {
                let Ok(guardian) = guardian.recv() else { return };
                let ended = EventLoop::new(runtime, plan, options, inbox, guardian).run();
                // The embedder may have dropped the app.
                if let Err(unwanted) = tell.send(ended) {
                    unwanted.guardian.dismiss();
                }
            })
            .map_err(system("start a thread"))?;
        let died = Box::new(move || guard_inbox.send(Message::HostBug("the guardian")));
        let guardian = Guardian::start(clock, output, died).map_err(system("start a thread"))?;
        give.send(guardian).map_err(|_| AppError::Bug)?;
        Ok(Self { stopper, end })
    }

    /// Returns a handle that stops the app.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Returns the operator interface of the app: status, reload, and the restart or stop of one component. The
    /// control socket and the admin listener ask the same one.
    pub fn operator(&self) -> impl Operator + Clone + use<> {
        self.stopper.inbox.clone()
    }

    /// Waits for the app's end. Blocks the thread.
    ///
    /// # Errors
    /// When a component could not be loaded; nothing was started then.
    pub fn wait(self) -> Result<Report, AppError> {
        self.end.blocking_recv().map_or(Err(AppError::Bug), Ended::dismissed)
    }

    /// The same for a process that leaves with its app: the guardian stays on guard until it has left, and the
    /// signals are handed back.
    ///
    /// # Errors
    /// When the control thread died; the guardian is about to end the process then.
    pub fn wait_guarded(self) -> Result<Ended, AppError> {
        self.end.blocking_recv().map_err(|_| AppError::Bug)
    }

    /// The same for async code, on any executor.
    ///
    /// # Errors
    /// As [`App::wait`].
    ///
    /// # Cancel safety
    /// Dropping the future loses the report; the app runs on.
    pub async fn ended(self) -> Result<Report, AppError> {
        self.end.await.map_or(Err(AppError::Bug), Ended::dismissed)
    }
}
