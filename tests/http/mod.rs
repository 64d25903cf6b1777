//! Part H of the scenarios, S9 for requests, part G for kind `http`, and what a user of an http component sees:
//! serving, routing, limits, instances, requests that go out.
//!
//! Each test ends with a stop of its host. `lab` has what several of them need.

mod access_log;
mod answers;
mod balancer;
mod bodies;
mod capacity;
mod clients_gone;
mod crowds;
mod departures;
mod ending;
mod exhaustion;
mod fresh;
mod grpc;
mod half_close;
mod hooks;
mod hostile;
mod hostile_clients;
mod http2_rules;
mod http2_stop;
mod identity;
mod instances;
pub mod lab;
mod late;
mod limits;
mod malformed;
mod moment;
mod outbound;
mod pace;
mod page;
mod protocols;
mod report;
mod request_forms;
mod rollout;
mod routing;
mod serving;
mod start;
mod stop;
mod streams;
mod timeouts;
mod traps;
