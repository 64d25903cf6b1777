//! The settings of an app, besides its plan.

use super::signals::SignalSource;
use crate::output::Output;
use crate::plan::Overrides;
use crate::runtime::Cache;
use crate::server::{KindSet, built_in};

/// The settings of an app, besides its plan.
#[derive(Debug)]
pub struct Options {
    /// The writers of its components' output and of the log.
    pub output: Output,
    /// The folder of compiled components; `None` compiles each time.
    pub cache: Option<Cache>,
    /// Whether guests can be interrupted while they run; see [`RuntimeOptions`].
    pub interruptible: bool,
    /// The process's signals; `None` leaves them to the embedder, who then calls [`Stopper::stop`].
    pub signals: Option<SignalSource>,
    /// Settings that hold instead of the manifest's, also when it is read again.
    pub overrides: Overrides,
    /// The kinds of component that can run.
    pub kinds: Vec<KindSet>,
    /// Whether the process exists for this app. The service manager that started the process is notified then.
    pub service_manager: bool,
}

impl Options {
    /// Returns options with a cache, without signals.
    pub fn new(output: Output, cache: Option<Cache>) -> Self {
        let overrides = Overrides::default();
        Self {
            output,
            cache,
            interruptible: true,
            signals: None,
            overrides,
            service_manager: false,
            kinds: built_in(),
        }
    }
}
