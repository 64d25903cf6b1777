//! Whether whoever runs the drill wants it to end. All waits of a drill look here again and again.
//!
//! Invariant: a wish that is raised while nobody heeds it is known to be so by the one who raises it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A wish to end, from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    heeded: AtomicBool,
}

impl Interrupt {
    /// Ends the drill: its children are killed, nothing else is tried. Returns whether anybody heeds it.
    pub fn raise(&self) -> bool {
        self.0.raised.store(true, SeqCst);
        self.0.heeded.load(SeqCst)
    }

    /// Says whether what is done now looks here, and has something to clean up.
    pub fn heed(&self, heeds: bool) {
        self.0.heeded.store(heeds, SeqCst);
    }

    /// Whether that was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(SeqCst)
    }
}
