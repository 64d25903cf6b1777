//! The linear memories of all instances of an app together: their sum, and its limit.
//!
//! Invariant: what is taken is given back when its store is dropped, and with a limit the sum never grows above it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::text::units::format_size;

/// Least time between two log lines about a full memory.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The app has no memory left for one more instance.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the memory of the app is full (`memory` of [app])")]
pub(super) struct AppMemoryFull;

/// The sum, which all stores share.
#[derive(Debug)]
pub(crate) struct AppMemory {
    used: AtomicU64,
    most: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Default for AppMemory {
    fn default() -> Self {
        Self { used: AtomicU64::new(0), most: AtomicU64::new(u64::MAX), told: Mutex::default() }
    }
}

impl AppMemory {
    /// Sets the limit, for all growth from now on.
    pub(crate) fn set_limit(&self, most: Option<u64>) {
        self.most.store(most.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Takes memory for a component, unless the sum would be above the limit.
    pub(super) fn take(&self, bytes: usize, component: &str) -> bool {
        let (bytes, limit) = (bytes as u64, self.most.load(Ordering::Relaxed));
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if let Err(used) = taken
            && self.is_news()
        {
            let [used, limit, asked] = [used, limit, bytes].map(format_size);
            tracing::warn!(
                component,
                asked,
                used,
                limit,
                "the memory of the app is full: a component gets no more"
            );
        }
        taken.is_ok()
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    fn is_news(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if is_news {
            *told = Some(Instant::now());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_above_the_limit_is_refused_until_memory_comes_back() {
        let memory = AppMemory::default();
        assert!(memory.take(1 << 30, "a"), "without a limit all is allowed");
        memory.set_limit(Some(2 << 30));
        assert!(memory.take(1 << 30, "b") && !memory.take(1, "c"));
        memory.give_back(1 << 30);
        assert!(memory.take(1 << 30, "c"));
        memory.set_limit(Some(1));
        assert!(!memory.take(1, "c"), "a lower limit holds for growth alone");
        memory.give_back(2 << 30);
        assert!(memory.take(1, "c"));
    }
}
