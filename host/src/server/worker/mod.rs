//! The threads of a component: each runs the instances of one slot and the connections that it is handed, and keeps code
//! that computes for long from starving them.

pub(super) mod fairness;
pub(super) mod workers;

pub(super) use fairness::{FairnessTicker, InstanceWaker, TimeSlice};
pub(super) use workers::{ConnectionSlot, WorkerEvent, WorkerTask, Workers};
