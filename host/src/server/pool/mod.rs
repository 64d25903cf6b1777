//! The pool of one component: its instances, the requests and connections that wait for one, and which instance gets which.

mod claim;
pub(super) mod pool;
mod share;
#[cfg(test)]
mod tests;

pub(super) use claim::{Claim, GuestResponse, Interest, Job, Upset, Work};
pub(super) use pool::{Pool, PoolLimits, SubmitError};
pub(super) use share::{Holder, Places};
