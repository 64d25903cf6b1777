//! What every test needs: the host as a child process, its output as events, and clients for its guests.
//!
//! Tests wait for a line, a log record, a socket or the exit. Where the system tells nobody of an event (a process
//! is reaped, a port is bound), the harness looks again every few milliseconds, with a bound.

mod activation;
mod app;
mod balancer;
mod browser;
mod capture;
mod cgroup;
mod confine;
mod docs;
mod host;
mod http_address;
mod http_clients;
mod http_h2;
mod http_load;
mod http_parser;
mod http_tls;
mod http_tool;
mod http_wire;
mod languages;
mod link;
mod manifest;
mod notify;
mod operator;
mod output;
mod patience;
mod podman;
mod ports;
mod process;
mod pty;
mod redis;
mod reload;
mod sockets;
mod tcp;
mod wat;

pub use app::App;
pub use balancer::{Balancer, Look, Probe};
pub use browser::Browser;
pub use cgroup::Cgroup;
pub use confine::Refused;
pub use docs::expect_page;
pub use host::{Host, curfew};
pub use http_address::{Address, Stream, web};
pub use http_h2::{H2, Lost, answer, block_on, in_time, send_all};
pub use http_load::{End, Load, Tally, Target};
pub use http_parser::Answer;
pub use http_tls::Trust;
pub use http_tool::{python_with, tool};
pub use http_wire::{Cut, Fate, Wire, start_threads};
pub use languages::{built, follow, sample, samples};
pub use link::Link;
pub use manifest::{app, component, keys, valid_manifest};
pub use notify::Manager;
pub use operator::CONTROL;
pub use output::Output;
pub use patience::{assert_within, patience};
pub use podman::Podman;
pub use ports::{free_address, free_port};
pub use process::{unsent, until};
pub use pty::Terminal;
pub use redis::{Redis, Reply};
pub use tcp::LineClient;
pub use wat::{Hook, HookResult, Run};
