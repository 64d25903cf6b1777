//! The descriptors of the process, as far as connections use them up.
//!
//! Invariant: a part of them stays free of connections, for the admin listener, for instances and for what these open. Half of
//! that part is open to addresses that have fewer connections than another one: no address takes all from the others.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::acceptor::Stream;
use super::address::Address;

/// The reserve is this part of all, within these bounds.
const PART: RawFd = 8;
const RESERVE: (RawFd, RawFd) = (8, 64);
/// Longest wait for a descriptor until somebody else is evicted.
const PAUSE: Duration = Duration::from_millis(50);

/// The descriptors that connections may have.
#[derive(Debug)]
pub(crate) struct Descriptors {
    limit: RawFd,
    addresses: Mutex<Vec<Weak<Address>>>,
    freed: Notify,
}

impl Descriptors {
    pub(crate) fn new() -> Arc<Self> {
        let limit = getrlimit(Resource::RLIMIT_NOFILE)
            .map_or(RawFd::MAX, |(soft, _)| RawFd::try_from(soft).unwrap_or(RawFd::MAX));
        Arc::new(Self { limit, addresses: Mutex::default(), freed: Notify::new() })
    }

    /// Adds an address, whose connections can be evicted from now on.
    pub(crate) fn add(&self, address: &Arc<Address>) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.retain(|address| address.strong_count() > 0);
        addresses.push(Arc::downgrade(address));
    }

    /// Notes that a connection has ended.
    pub(crate) fn freed(&self) {
        self.freed.notify_one();
    }

    /// Makes room until a new connection of this address leaves the reserve alone.
    ///
    /// # Cancel safety
    /// Can be dropped and called again.
    pub(crate) async fn spare(&self, address: &Address, stream: &mut Stream) {
        while self.is_reserved(stream) {
            self.evict();
            if !self.must_wait(address, stream) {
                return;
            }
            self.wait().await;
            // The system gives the lowest number that is free.
            if let Ok(lower) = stream.try_clone() {
                *stream = lower;
            }
        }
    }

    /// Returns when it is worth trying again to get a descriptor.
    pub(crate) async fn room(&self) {
        self.evict();
        self.wait().await;
    }

    /// Waits until a connection has ended, or for a moment.
    async fn wait(&self) {
        let _pause = timeout(PAUSE, self.freed.notified()).await;
    }

    fn reserve(&self) -> RawFd {
        (self.limit / PART).clamp(RESERVE.0, RESERVE.1)
    }

    fn is_reserved(&self, stream: &Stream) -> bool {
        stream.as_raw_fd() >= self.limit - self.reserve()
    }

    fn must_wait(&self, address: &Address, stream: &Stream) -> bool {
        let own = address.connections();
        let is_largest = self.by_size().first().is_none_or(|largest| largest.connections() <= own);
        own > 0 && (is_largest || stream.as_raw_fd() >= self.limit - self.reserve() / 2)
    }

    /// Returns all addresses, those with the most connections first.
    fn by_size(&self) -> Vec<Arc<Address>> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses: Vec<_> = addresses.iter().filter_map(Weak::upgrade).collect();
        addresses.sort_by_cached_key(|address| std::cmp::Reverse(address.connections()));
        addresses
    }

    /// Evicts an idle connection: of the address that has the most connections and an idle one.
    fn evict(&self) {
        let now = Instant::now();
        let _none_is_idle = self.by_size().iter().any(|address| address.idle.evict(now));
    }
}
