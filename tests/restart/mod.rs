//! R10–R12: components that are started again, how often, and after which pause.

mod backoff;
mod budget;
mod clients;
mod health;
mod http;
mod orders;
mod out_of_service;
