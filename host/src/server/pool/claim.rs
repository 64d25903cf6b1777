//! One request or connection on its way through a pool: the job that waits, and the claim that its client and its instance share.
//!
//! Invariant: a claim is taken once, and what it counts (its instance's requests, its holder's places, orphans) is counted out when the
//! claim is dropped.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use futures::channel::oneshot;
use tokio::sync::SetOnce;
use wasmtime_wasi_http::handler::Request;

use super::pool::Pool;
use super::share::Holder;
use crate::server::instance::{GuestBody, InstanceHandle};
use crate::server::tcp::pipe::Conversation;

/// A guest's answer to a request, or its error.
pub(crate) type GuestResponse = Result<http::Response<GuestBody>, wasmtime::Error>;

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
            *self.claim.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(request));
            drop(reply);
        }
    }
}

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

/// The way in which a client has upset its request by its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upset {
    /// It broke it off, or sent too much.
    BrokenOff,
    /// It did not send it in time.
    TooSlow,
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
    /// The order to end its call at once.
    cut: SetOnce<()>,
    pool: Weak<Pool>,
    /// It is a health check of the host's own, and no request of a client.
    is_check: bool,
    pub(super) holder: Holder,
    /// It was taken, and counts among those of its holder.
    has_place: AtomicBool,
    /// Its client has left, and its call goes on.
    is_orphan: AtomicBool,
    upset: OnceLock<Upset>,
}

impl Claim {
    /// Returns the claim of a request of this connection that waits.
    pub(crate) fn new(pool: &Arc<Pool>, holder: Holder) -> Arc<Self> {
        Self::of(pool, false, holder)
    }

    /// Returns the claim of a health check.
    pub(crate) fn check(pool: &Arc<Pool>) -> Arc<Self> {
        Self::of(pool, true, Holder::default())
    }

    fn of(pool: &Arc<Pool>, is_check: bool, holder: Holder) -> Arc<Self> {
        let (state, pool) = (AtomicU8::new(WAITING), Arc::downgrade(pool));
        Arc::new(Self {
            state,
            taker: OnceLock::new(),
            returned: Mutex::default(),
            cut: SetOnce::new(),
            pool,
            is_check,
            holder,
            has_place: AtomicBool::new(false),
            is_orphan: AtomicBool::new(false),
            upset: OnceLock::new(),
        })
    }

    pub(crate) fn returned(&self) -> Option<Request> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).take().map(|request| *request)
    }

    /// Takes the request for an instance. False: its client has left.
    pub(crate) fn take(&self, instance: &Arc<InstanceHandle>) -> bool {
        instance.enter();
        let _first = self.taker.set((instance.clone(), Instant::now()));
        let taken = self.state.compare_exchange(WAITING, TAKEN, SeqCst, SeqCst).is_ok();
        match taken {
            true if self.is_check => instance.count_check(),
            true => {
                self.has_place.store(true, SeqCst);
                self.holder.take();
            }
            false => {
                instance.leave_live();
                instance.call_ended();
            }
        }
        taken
    }

    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.upgrade()
    }

    pub(crate) fn taker(&self) -> Option<&Arc<InstanceHandle>> {
        self.taker.get().map(|(instance, _)| instance)
    }

    pub(crate) fn taken_at(&self) -> Option<Instant> {
        self.taker.get().map(|(_, at)| *at)
    }

    /// Notes that bytes of it have moved.
    pub(crate) fn moved(&self) {
        if let Some(instance) = self.taker() {
            instance.moved();
        }
    }

    /// Notes that its client has left before it had the whole answer, was given up, or has broken its upload off.
    pub(crate) fn give_up(&self) {
        if let Some(instance) = self.taker() {
            instance.give_up();
        }
    }

    /// Notes that its client does not send the whole body: what the answer lacks is its own doing.
    pub(crate) fn upset(&self, how: Upset) {
        let _first = self.upset.set(how);
        self.give_up();
    }

    /// Returns how its client has upset it.
    pub(crate) fn upset_by(&self) -> Option<Upset> {
        self.upset.get().copied()
    }

    /// Notes that its client has left before it had the whole answer. Until its call has ended it is an orphan.
    pub(crate) fn abandon(&self) {
        self.give_up();
        if self.has_place.load(SeqCst)
            && !self.is_orphan.swap(true, SeqCst)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.shares.abandon(&self.holder);
        }
    }

    pub(super) fn cut(&self) {
        // It can be given twice: when the answer is late, and when its client has left.
        let _again = self.cut.set(());
    }

    /// Returns whether its call has to end at once.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.initialized()
    }

    /// Returns once its call has to end at once. Cancel safe.
    pub(crate) async fn must_end(&self) {
        self.cut.wait().await;
    }

    /// Returns whether its client has left.
    pub(crate) fn was_left(&self) -> bool {
        self.state.load(SeqCst) == LEFT
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(instance) = self.taker() else { return };
        let is_orphan = self.is_orphan.load(SeqCst);
        if self.has_place.load(SeqCst) {
            self.holder.leave(is_orphan);
        }
        if is_orphan && let Some(pool) = self.pool.upgrade() {
            pool.shares.forget(&self.holder);
        }
        // Behind the places: the instance takes the next request.
        instance.leave();
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
