//! The pool of one component: its instances, the requests and connections that wait for one, and which instance gets which.

pub(super) mod job;
pub(super) mod pool;
#[cfg(test)]
mod tests;

pub(super) use job::{Job, Work};
pub(super) use pool::{Pool, PoolLimits};
