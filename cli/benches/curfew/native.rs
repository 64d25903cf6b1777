//! The peer of the figures about time: threads of the system, without curfew and without guests. What these
//! suffer is the machine's doing.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::figure::in_millis;

/// How long each wait is.
const PERIOD: Duration = Duration::from_millis(1);

/// Waits so many times for a millisecond, next to so many threads that spin, and returns how late each wait
/// ended, in milliseconds.
pub fn lateness(waits: usize, spinning: usize) -> Vec<f64> {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..spinning {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        let (_never, nothing) = channel::<()>();
        let late = (0..waits).map(|_| {
            let start = Instant::now();
            let _timed_out = nothing.recv_timeout(PERIOD);
            in_millis(start.elapsed().saturating_sub(PERIOD))
        });
        let late = late.collect();
        enough.store(true, Ordering::Relaxed);
        late
    })
}
