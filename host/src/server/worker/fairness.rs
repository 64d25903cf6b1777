//! Makes guest code that computes for long let others on its thread run, a few times a second.
//!
//! Connections live on the threads of instances. Code that neither waits nor returns would hold them up, so it is
//! interrupted, and goes on when the others have had their turn. Invariant: epochs are bumped only while such code
//! runs; an idle app has no tick.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::runtime::Runtime;

/// How often somebody looks who has been running since the last look.
const LOOK: Duration = Duration::from_millis(10);
/// Looks without any turn after which nobody looks until the next one.
const REST_AFTER: u32 = 100;

/// Whether one instance's code is running.
#[derive(Debug)]
pub(crate) struct TimeSlice {
    /// Odd while the code runs; grows by one each time it begins or ends.
    count: AtomicU64,
    overdue: AtomicBool,
    spins: AtomicBool,
    /// Whether the code waits for something, and not just for its turn.
    waits: AtomicBool,
    ticker: Arc<FairnessTicker>,
}

impl TimeSlice {
    /// Notes that the code may run from now on.
    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.ticker.rests.load(Ordering::SeqCst) {
            self.ticker.awake();
        }
    }

    /// Notes that the code does not run any more.
    pub(crate) fn end(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// Notes whether the code waits for something but its next turn.
    pub(crate) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Release);
    }

    /// Returns whether the code waits for something but its turn.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Returns whether the running code has to let others run now. Asking takes the answer back.
    pub(crate) fn must_yield(&self) -> bool {
        let overdue = self.overdue.swap(false, Ordering::SeqCst);
        if overdue {
            self.spins.store(true, Ordering::SeqCst);
        }
        overdue
    }

    /// Returns whether the code was interrupted, and has not come back since.
    pub(crate) fn spins(&self) -> bool {
        self.spins.load(Ordering::SeqCst)
    }

    /// Notes that the code is back in its loop. Returns whether it was interrupted before.
    pub(crate) fn came_back(&self) -> bool {
        self.spins.load(Ordering::SeqCst) && self.spins.swap(false, Ordering::SeqCst)
    }
}

/// Watches all turns of an app.
#[derive(Debug, Default)]
pub(crate) struct FairnessTicker {
    turns: Mutex<Vec<Weak<TimeSlice>>>,
    rests: AtomicBool,
    wakened: Notify,
}

impl FairnessTicker {
    /// Returns a turn that is watched until it is dropped.
    pub(crate) fn turn(self: &Arc<Self>) -> Arc<TimeSlice> {
        let turn = Arc::new(TimeSlice {
            count: AtomicU64::new(0),
            overdue: AtomicBool::new(false),
            spins: AtomicBool::new(false),
            waits: AtomicBool::new(true),
            ticker: self.clone(),
        });
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&turn));
        turn
    }

    fn awake(&self) {
        if self.rests.swap(false, Ordering::SeqCst) {
            self.wakened.notify_one();
        }
    }

    /// Watches for ever.
    pub(crate) async fn watch(&self, runtime: &Runtime) {
        let mut seen: Vec<(Weak<TimeSlice>, u64)> = Vec::new();
        let mut quiet = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            let found = self.look(runtime, &seen);
            quiet = if found.moved { 0 } else { quiet + 1 };
            seen = found.seen;
            if quiet >= REST_AFTER {
                self.rests.store(true, Ordering::SeqCst);
                // A turn that began before it could see that is found by another look.
                if self.look(runtime, &seen).moved {
                    self.rests.store(false, Ordering::SeqCst);
                } else {
                    self.wakened.notified().await;
                }
                quiet = 0;
            }
        }
    }

    fn look(&self, runtime: &Runtime, before: &[(Weak<TimeSlice>, u64)]) -> Look {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|turn| turn.strong_count() > 0);
        let mut bump = false;
        let mut moved = false;
        let mut seen = Vec::with_capacity(turns.len());
        for (at, weak) in turns.iter().enumerate() {
            let Some(turn) = weak.upgrade() else { continue };
            let count = turn.count.load(Ordering::SeqCst);
            let old = before.get(at).filter(|(old, _)| old.ptr_eq(weak)).map(|(_, count)| *count);
            let runs = count % 2 == 1;
            moved |= runs || old != Some(count);
            if runs && old == Some(count) {
                turn.overdue.store(true, Ordering::SeqCst);
                bump = true;
            }
            seen.push((weak.clone(), count));
        }
        drop(turns);
        if bump {
            runtime.bump();
        }
        Look { seen, moved }
    }
}

struct Look {
    seen: Vec<(Weak<TimeSlice>, u64)>,
    moved: bool,
}
