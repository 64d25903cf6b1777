//! One request or connection on its way to an instance, and whether its client still waits.
//!
//! Invariant: an instance counts a request as in flight until its call has returned and its client has the whole answer or has
//! left; and as live until its client has the answer or has left.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use futures::channel::oneshot;
use wasmtime_wasi_http::handler::{Request, Response};

use super::pool::Pool;
use crate::server::instance::InstanceHandle;
use crate::server::tcp::pipe::Conversation;

/// A guest's answer to a request, or its error.
pub(crate) type GuestResponse = Result<Response, wasmtime::Error>;

/// A request for a component, or a connection. Dropping it unanswered tells its client that no instance is left for it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) claim: Arc<Claim>,
    /// It waited in another queue before, which was given up: a full one is no reason to refuse it.
    pub(crate) has_waited: bool,
}

impl Job {
    /// Gives a request back to its submitter. A connection is dropped: its bytes are on their way.
    pub(crate) fn give_back(self) {
        if let Work::Request(request, reply) = self.work {
            *self.claim.lock_returned() = Some(Box::new(request));
            drop(reply);
        }
    }
}

/// The work for a guest.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an allocation for each request would cost more than the space"
)]
pub(crate) enum Work {
    /// A request, as the guest will see it, and where the answer goes.
    Request(Request, oneshot::Sender<GuestResponse>),
    Connection(Conversation),
}

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const LEFT: u8 = 2;

/// State shared by the client's side and the instance's side of a request.
#[derive(Debug)]
pub(crate) struct Claim {
    state: AtomicU8,
    taker: OnceLock<(Arc<InstanceHandle>, Instant)>,
    returned: Mutex<Option<Box<Request>>>,
    pool: Weak<Pool>,
}

impl Claim {
    /// Returns the claim of a request that waits.
    pub(crate) fn new(pool: &Arc<Pool>) -> Arc<Self> {
        let (state, pool) = (AtomicU8::new(WAITING), Arc::downgrade(pool));
        Arc::new(Self { state, taker: OnceLock::new(), returned: Mutex::default(), pool })
    }

    fn lock_returned(&self) -> MutexGuard<'_, Option<Box<Request>>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the request if it was given back.
    pub(crate) fn returned(&self) -> Option<Request> {
        self.lock_returned().take().map(|request| *request)
    }

    /// Takes the request for an instance. False: its client has left.
    pub(crate) fn take(&self, instance: &Arc<InstanceHandle>) -> bool {
        instance.enter();
        let _first = self.taker.set((instance.clone(), Instant::now()));
        let taken = self.state.compare_exchange(WAITING, TAKEN, SeqCst, SeqCst).is_ok();
        if !taken {
            instance.leave_live();
            instance.call_ended();
        }
        taken
    }

    /// Returns the instance that took it.
    pub(crate) fn taker(&self) -> Option<&Arc<InstanceHandle>> {
        self.taker.get().map(|(instance, _)| instance)
    }

    /// Returns when it was taken.
    pub(crate) fn taken_at(&self) -> Option<Instant> {
        self.taker.get().map(|(_, at)| *at)
    }

    /// Returns whether its client has left.
    pub(crate) fn was_left(&self) -> bool {
        self.state.load(SeqCst) == LEFT
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(instance) = self.taker() {
            instance.leave();
        }
    }
}

/// The client's side. Dropped when the client has its whole answer, or has left.
#[derive(Debug)]
pub(crate) struct Interest(pub Arc<Claim>);

impl Drop for Interest {
    fn drop(&mut self) {
        match (self.0.state.swap(LEFT, SeqCst), self.0.taker(), self.0.pool.upgrade()) {
            (TAKEN, Some(instance), _) => instance.leave_live(),
            (WAITING, _, Some(pool)) => pool.drop_left(),
            _ => {}
        }
    }
}
