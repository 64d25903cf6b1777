//! Kind `tcp`: the three behaviours of the TCP server post (stop now, graceful stop, restart on the same and on another
//! address), R2 and R3 for connections, and what a user of such a component sees.
//!
//! Each test ends with a stop of its host. `lab` has what several of them need.

pub mod client;
mod drain;
mod lab;
mod limits;
mod refusals;
mod reload;
mod stop;
mod streams;
mod traps;
