//! Components of kind `tcp`: a connection of theirs is one request to the pool, and two bounded pipes between its
//! socket and its guest.
//!
//! | module | decides |
//! | --- | --- |
//! | `connection` | how a connection begins, and how it ends |
//! | `traffic` | what passes between socket and pipes, and when that is over |
//! | `pipe` | how much is held between the two sides, and how either side ends |
//! | `guest` | how the handler is called, and how its streams meet the pipes |
//! | `visit` | what is counted and logged of a connection |

mod connection;
mod guest;
mod pipe;
#[cfg(test)]
mod pipe_tests;
mod traffic;
mod visit;

pub use connection::serve;
pub use guest::{Talk, converse};
pub use visit::Closed;
