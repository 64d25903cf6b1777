//! The last resort: a thread that ends the process when its stop takes too long, or when the control thread is gone.
//! Invariant (I3): from the moment it is armed, the process is gone by the hard deadline + 250 ms, whatever any guest,
//! lock or descriptor does. It takes no lock that others hold while they work.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::inbox::Inbox;
use crate::output::Output;
use crate::runtime::RunClock;
use crate::teardown::ExitCode;

/// Time that the control thread has after the hard deadline to leave by itself.
const LATENESS: Duration = Duration::from_millis(100);
/// Time that the last lines have to be written.
const FLUSH: Duration = Duration::from_millis(100);
/// Longest time between two looks at the clock while it is armed.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GuardOrder {
    Wait,
    LeaveAt(Duration),
    ControlDied,
    Dismissed,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<GuardOrder>,
    changed: Condvar,
    code: AtomicU8,
}

/// The control thread's handle on the guardian. Dropping it undismissed means that the control thread has died.
#[derive(Debug)]
pub struct Guardian {
    shared: Arc<Shared>,
    clock: Arc<RunClock>,
}

impl Guardian {
    pub(super) fn start(clock: Arc<RunClock>, output: Output, inbox: Inbox) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            orders: Mutex::new(GuardOrder::Wait),
            changed: Condvar::new(),
            code: AtomicU8::new(ExitCode::HOST_BUG.0),
        });
        let (watched, watched_clock) = (shared.clone(), clock.clone());
        std::thread::Builder::new().name("curfew-guard".to_owned()).stack_size(256 << 10).spawn(
            move || {
                let _death = inbox.on_death("the guardian");
                watch(&watched, &watched_clock, &output);
            },
        )?;
        Ok(Self { shared, clock })
    }

    /// Sets the latest time at which the process leaves, and its exit code.
    pub fn arm(&self, hard: Duration, code: ExitCode) {
        self.shared.code.store(code.0, Ordering::Release);
        self.order(GuardOrder::LeaveAt(hard));
    }

    /// Limits the process to this much more time; an earlier limit stays.
    pub fn leave_within(&self, longest: Duration, code: ExitCode) {
        let at = self.clock.now().saturating_add(longest);
        let orders = *self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let hard = if let GuardOrder::LeaveAt(hard) = orders { hard.min(at) } else { at };
        self.arm(hard, code);
    }

    /// Lifts the limit, for now.
    pub fn rest(&self) {
        self.order(GuardOrder::Wait);
    }

    /// Ends the guard: the process goes on without the app.
    pub fn dismiss(self) {
        self.order(GuardOrder::Dismissed);
    }

    fn order(&self, new: GuardOrder) {
        let mut orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if *orders != new && *orders != GuardOrder::Dismissed && *orders != GuardOrder::ControlDied {
            *orders = new;
            self.shared.changed.notify_all();
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.order(GuardOrder::ControlDied);
    }
}

fn watch(shared: &Shared, clock: &RunClock, output: &Output) {
    // Twice: when the process was stopped, the control thread takes that time out of the clock in between.
    let mut seen_overdue = false;
    let mut orders = shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = clock.now();
        let wait = match *orders {
            GuardOrder::Wait => {
                seen_overdue = false;
                None
            }
            GuardOrder::Dismissed => return,
            GuardOrder::ControlDied => leave(output, ExitCode::HOST_BUG, "the control thread died: leaving"),
            GuardOrder::LeaveAt(hard) if now < hard => {
                seen_overdue = false;
                Some((hard - now).clamp(Duration::from_millis(1), LOOK))
            }
            GuardOrder::LeaveAt(_) if seen_overdue => {
                let code = ExitCode(shared.code.load(Ordering::Acquire));
                leave(output, code, "the hard deadline has passed: leaving")
            }
            GuardOrder::LeaveAt(_) => {
                seen_overdue = true;
                Some(LATENESS)
            }
        };
        orders = match wait {
            None => shared.changed.wait(orders).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => {
                let ordered = *orders;
                let unchanged = |now: &mut GuardOrder| *now == ordered;
                let waited = shared.changed.wait_timeout_while(orders, wait, unchanged);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn leave(output: &Output, code: ExitCode, why: &str) -> ! {
    tracing::error!(exit_code = code.0, "{why}");
    output.flush(FLUSH);
    hard_exit(code)
}

/// Ends the process at once: no destructors, no exit handlers, no locks. Each of those can hang for ever.
#[expect(unsafe_code, reason = "std has no exit that runs nothing on its way out")]
pub fn hard_exit(code: ExitCode) -> ! {
    // SAFETY: `_exit` has no preconditions; it does not return.
    unsafe { nix::libc::_exit(i32::from(code.0)) }
}
