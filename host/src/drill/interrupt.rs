//! Whether whoever runs the drill wants it to end. All waits look here again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A wish to end, from any thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Ends the drill: its children are killed, nothing else is tried.
    pub fn raise(&self) {
        self.0.store(true, SeqCst);
    }

    /// Whether that was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(SeqCst)
    }
}
