//! Tests of the machine. `transition_table` has every event at every level, `contract` the rows of the contract, `properties` random
//! sequences of events.
//!
//! `properties` lets a `simulator` react to the machine as components do, while a `checker` follows each step in a `model` of its own and
//! checks the `invariants` on it. Invariant: the model is kept from events and actions alone, never copied from the machine.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test names the cases that it is about")]

use super::*;

mod checker;
mod contract;
mod fixtures;
mod invariants;
mod model;
mod properties;
mod simulator;
mod transition_table;
