//! Black-box tests of the built `curfew`: what users see, and the scenarios that must hold.
//!
//! Every test ends with a stop of its host and a check that nothing is left of it. What belongs to one module
//! of the host is tested there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says on standard error what it skips"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "sleeps only where a scenario is about the time between two events"
)]

mod cache;
mod causes;
mod check;
mod drill;
mod echo;
mod exit;
mod files;
mod foreign;
mod grants;
mod guide;
mod harness;
mod hooks;
mod hostile;
mod http;
mod json_log;
mod kinds;
mod labs;
mod languages;
mod layout;
mod looking;
mod manual;
mod memory;
mod modules;
mod operate;
mod order;
mod profiles;
mod redis;
mod reload;
mod restart;
mod shortages;
mod signals;
mod single;
mod start;
mod stdio;
mod steady;
mod systemd;
mod tcp;
mod terminal;
mod toy_kind;
mod wit;

use std::sync::Mutex;

/// Runs the job for each case, so many at a time. The first failure fails the test, and no further case is
/// begun then.
fn in_parallel<T: Send>(width: usize, cases: Vec<T>, job: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases.into_iter());
    let next = || cases.lock().ok()?.next();
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let stop_all = Poison(&cases);
                    job(case);
                    std::mem::forget(stop_all);
                }
            });
        }
    });
}

/// Takes the cases that are left away when a job panics.
struct Poison<'a, T>(&'a Mutex<std::vec::IntoIter<T>>);

impl<T> Drop for Poison<'_, T> {
    fn drop(&mut self) {
        if let Ok(mut cases) = self.0.lock() {
            *cases = Vec::new().into_iter();
        }
    }
}
