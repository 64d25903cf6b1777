//! The pool of one component: its instances, the requests and connections that wait for one, and which instance gets which.

pub(super) mod pool;
mod share;
#[cfg(test)]
mod tests;

pub(super) use pool::{Claim, GuestResponse, Interest, Job, Pool, PoolLimits, SubmitError, Upset, Work};
pub(super) use share::{Holder, Places};
