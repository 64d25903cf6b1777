//! One request on its way to an instance, and who still cares about it.
//!
//! Invariant: an instance counts a request as in flight until both its call has returned and its client has the
//! whole answer (or has left); and as live until its client has it (or has left).

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use futures::channel::oneshot;
use wasmtime_wasi_http::handler::{Request, Response};

use super::instance::Instance;

/// What becomes of a request in the guest: an answer, or what went wrong.
pub type Answer = Result<Response, wasmtime::Error>;

/// A request for a component. Dropping it unanswered tells its client that no instance is left for it.
#[derive(Debug)]
pub struct Job {
    /// As the guest will see it.
    pub request: Request,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answer>,
    /// Who cares.
    pub claim: Arc<Claim>,
}

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const LEFT: u8 = 2;

/// What the client's side and the instance's side of a request share.
#[derive(Debug, Default)]
pub struct Claim {
    state: AtomicU8,
    taker: OnceLock<Arc<Instance>>,
}

impl Claim {
    /// Takes the request for an instance. False: its client has left.
    pub fn take(&self, instance: &Arc<Instance>) -> bool {
        instance.enter();
        let _first = self.taker.set(instance.clone());
        let taken = self.state.compare_exchange(WAITING, TAKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !taken {
            instance.leave_live();
            instance.call_ended();
        }
        taken
    }

    /// Returns the instance that took it.
    pub fn taker(&self) -> Option<&Arc<Instance>> {
        self.taker.get()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(instance) = self.taker.get() {
            instance.leave();
        }
    }
}

/// The client's side. Dropped when the client has its whole answer, or has left.
#[derive(Debug)]
pub struct Interest(pub Arc<Claim>);

impl Drop for Interest {
    fn drop(&mut self) {
        if self.0.state.swap(LEFT, Ordering::SeqCst) == TAKEN
            && let Some(instance) = self.0.taker.get()
        {
            instance.leave_live();
        }
    }
}
