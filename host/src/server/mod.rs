//! Runs one instance of a component from its start to its end. Knows nothing of the app around it: orders come
//! in and events go out through the instance's `Link`.

mod failure;
pub mod http;
mod service;
mod thread;

pub use thread::{Spawned, spawn};
