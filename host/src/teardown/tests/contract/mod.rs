//! The rows of the contract, each as one test; the first comment of a test names its row.

use super::*;

mod app;
mod generations;
mod making_room;
mod one_component;
mod order;
mod restarts;
mod rollout;
