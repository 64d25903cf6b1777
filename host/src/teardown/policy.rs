//! Policies of the app and of its components: the part of a plan that the machine needs.

use std::time::Duration;

use super::GenerationId;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

/// Policy of the app.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest graceful stop.
    pub grace: Duration,
    /// Longest stop after a failure.
    pub fail_grace: Duration,
    /// Time in which the app is not ready and still serves, before a graceful stop.
    pub drain_delay: Duration,
    /// Table of signals.
    pub signals: SignalProfile,
}

/// Policy of one generation.
#[derive(Clone, Debug)]
pub struct GenerationPolicy {
    /// Longest time between its notice and its cut-off, within the slice of its wave. `None`: the whole slice.
    pub grace: Option<Duration>,
    /// Longest time until it is ready.
    pub start_timeout: Duration,
    /// Effect of its normal end.
    pub on_exit: OnEnd,
    /// Effect of its failure.
    pub on_failure: OnEnd,
    /// Effect of the failure of one of its instances, if it is a pool.
    pub on_lost: OnEnd,
    /// Restart budget, if one of these effects is a restart.
    pub restart: RestartPlan,
    /// Generations that it depends on: it starts once they are ready, and stops before them.
    pub after: Vec<GenerationId>,
    /// Whether it is a pool of instances that are replaced one by one: a failed instance is a `Lost`, not a `Failed`.
    pub pooled: bool,
}
