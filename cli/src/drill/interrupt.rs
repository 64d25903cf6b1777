//! The request to end a drill before it is over. Every wait of a drill polls it.
//!
//! Invariant: a thread that raises it learns whether the drill will handle it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A request to end the drill, from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_raised: AtomicBool,
    is_handled: AtomicBool,
}

impl Interrupt {
    /// Ends the drill: its processes are killed, no further scenario runs. Returns whether the drill handles it.
    pub(crate) fn raise(&self) -> bool {
        self.0.is_raised.store(true, SeqCst);
        self.0.is_handled.load(SeqCst)
    }

    /// Sets whether the drill polls the interrupt now, and has something to clean up.
    pub(crate) fn set_handled(&self, is_handled: bool) {
        self.0.is_handled.store(is_handled, SeqCst);
    }

    /// Returns whether the drill has to end.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.is_raised.load(SeqCst)
    }
}
