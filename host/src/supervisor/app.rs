//! The interface for embedders: start an app from a plan, send it a stop, await its report.

use super::event_loop::EventLoop;
use super::guardian::Guardian;
use super::inbox::{Inbox, Message};
use super::report::Report;
use super::signals::SignalSource;
use crate::admin::{Admin, AdminError, Operator};
use crate::output::Output;
use crate::plan::{Overrides, Plan};
use crate::runtime::{Cache, LoadErrors, Runtime, RuntimeOptions};
use crate::server::{KindSet, PrepareError, built_in};

/// Settings of an app, besides its plan.
#[derive(Debug)]
pub struct Options {
    /// The writers of its components' output and of the log.
    pub output: Output,
    /// The folder of compiled components; `None` compiles each time.
    pub cache: Option<Cache>,
    /// True if guests can be interrupted while they run; see [`RuntimeOptions`].
    pub interruptible: bool,
    /// The process's signals; `None` leaves them to the embedder, who then calls [`Stopper::stop`].
    pub signals: Option<SignalSource>,
    /// Settings that hold instead of the manifest's, also when it is read again.
    pub overrides: Overrides,
    /// The kinds of component that can run.
    pub kinds: Vec<KindSet>,
    /// True if the process exists for this app. The service manager that started the process is notified then.
    pub service_manager: bool,
}

impl Options {
    /// Returns options with a cache, without signals.
    pub fn new(output: Output, cache: Option<Cache>) -> Self {
        Self {
            output,
            cache,
            interruptible: true,
            signals: None,
            overrides: Overrides::default(),
            kinds: built_in(),
            service_manager: false,
        }
    }
}

/// The reason why an app could not run, or has no report.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Components cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadErrors),
    /// An address cannot be bound, or a certificate cannot be used.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The control socket or the admin listener cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// This machine cannot run compiled components.
    #[error("the engine cannot be made: {0:#}")]
    Engine(wasmtime::Error),
    /// The system refused something.
    #[error("cannot {what}: {cause}")]
    System {
        /// The task.
        what: &'static str,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// The control thread died, which is a bug.
    #[error("the control thread died, which is a bug in curfew")]
    Bug,
}

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

/// The remains of an app that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its report.
    pub result: Result<Report, AppError>,
    /// Still on guard, with the bound of the stop if there was one.
    pub guardian: Guardian,
    /// The signals, which the app does not read any more.
    pub signals: Option<SignalSource>,
    /// Still answering, until it is dropped: the last that closes.
    pub admin: Option<Admin>,
}

impl Ended {
    /// Returns the report alone: the process goes on without the app.
    ///
    /// # Errors
    /// A component could not be loaded.
    pub fn dismissed(self) -> Result<Report, AppError> {
        self.guardian.dismiss();
        self.result
    }
}

impl App {
    /// Starts an app: its components are loaded, then all of them started, on threads of their own.
    ///
    /// # Errors
    /// The engine or a thread cannot be had. Errors in components come from [`App::wait`].
    pub fn start(mut plan: Plan, options: Options) -> Result<Self, AppError> {
        plan.keep_budgets_possible();
        let system = |what| move |cause| AppError::System { what, cause };
        let runtime_options = RuntimeOptions {
            cache: options.cache.clone(),
            interruptible: options.interruptible,
            kinds: options.kinds.iter().flat_map(|set| set.kinds).copied().collect(),
        };
        let runtime = Runtime::new(runtime_options).map_err(AppError::Engine)?;
        let inbox = Inbox::new().map_err(system("make an event descriptor"))?;
        let (clock, output, stopper) =
            (runtime.clock().clone(), options.output.clone(), Stopper { inbox: inbox.clone() });
        // The control thread waits for its guardian: a guardian alone would take its absence for its death.
        let (give, guardian) = std::sync::mpsc::channel();
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
        let guardian =
            Guardian::start(clock, output, stopper.inbox.clone()).map_err(system("start a thread"))?;
        give.send(guardian).map_err(|_| AppError::Bug)?;
        Ok(Self { stopper, end })
    }

    /// Returns a handle that stops the app.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Returns the operator interface of the app, which the control socket and the admin listener use, too.
    pub fn operator(&self) -> impl Operator + Clone + use<> {
        self.stopper.inbox.clone()
    }

    /// Waits for the app's end. Blocks the thread.
    ///
    /// # Errors
    /// A component could not be loaded; nothing was started then.
    pub fn wait(self) -> Result<Report, AppError> {
        self.wait_guarded()?.dismissed()
    }

    /// The same for a process that leaves with its app: the guardian stays on guard, the signals are handed back.
    ///
    /// # Errors
    /// The control thread died; the guardian is about to end the process then.
    pub fn wait_guarded(self) -> Result<Ended, AppError> {
        self.end.blocking_recv().map_err(|_| AppError::Bug)
    }

    /// The same as [`App::wait`] for async code, on any executor.
    ///
    /// # Errors
    /// As [`App::wait`].
    ///
    /// # Cancel safety
    /// Dropping the future loses the report; the app runs on.
    pub async fn ended(self) -> Result<Report, AppError> {
        self.end.await.map_err(|_| AppError::Bug)?.dismissed()
    }
}
