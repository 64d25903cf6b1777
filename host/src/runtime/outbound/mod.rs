//! HTTP requests that guests send: `wasi:http/outgoing-handler` and `wasi:http/client`.
//!
//! Invariants: nothing leaves the process that `outbound-http` does not allow, not even a look-up of the name; a request
//! whose body did not arrive in full never looks complete to its receiver, nor does such a response to the guest. A component has
//! no more requests at a time than `limits.outbound`.

mod bodies;
mod client;
mod fault;
mod grant;
pub(super) mod path;
mod quota;
mod send;
#[cfg(test)]
mod tests;

pub(crate) use client::Outbound;
pub(super) use grant::Grant;
pub(super) use quota::Quotas;
pub(super) use send::HttpHooks;
