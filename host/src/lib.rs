//! The host of curfew as a library: runs several WebAssembly components as one app and stops them well.
//!
//! Imports point one way: [`supervisor`] → [`admin`] → [`server`] → [`runtime`] → [`teardown`] → [`plan`]. [`teardown`] is the
//! pure machine that decides how a stop goes. [`output`] writes everything that the process writes.
//!
//! Whatever a guest does: the hook of each started instance is called once unless it failed or was cut off first; the cause
//! of a stop never changes; no part waits for a clock once all is quiet; the process is gone by the hard deadline.
//!
//! ```
//! use curfew_host::output::Output;
//! use curfew_host::plan::{Bare, Plan};
//! use curfew_host::supervisor::{App, Options};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan::from_files(&[artifacts::SERVER.into()], &Bare::default())?;
//! let output = Output::start(Box::new(|thread| eprintln!("{thread} died")))?;
//! let app = App::start(plan, Options::new(output, None))?;
//! // From any thread, at any time.
//! app.stopper().stop();
//! let report = app.wait()?;
//! assert_eq!(report.exit_code, 0);
//! println!("{}", report.to_json()?);
//! # Ok(())
//! # }
//! ```

// Dead code shows where nothing is public without need.
#![cfg_attr(not(test), deny(unreachable_pub))]

/// Implements `Debug` for types with parts that have none.
macro_rules! opaque_debug {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

pub mod admin;
mod fail_point;
pub mod output;
pub mod plan;
pub mod runtime;
pub mod server;
mod stale_socket;
pub mod supervisor;
pub mod systemd;
pub mod teardown;
pub mod text;
mod threads;
