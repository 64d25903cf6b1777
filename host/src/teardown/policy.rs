//! What holds for the app as a whole and for each of its components, as the machine is told.

use std::time::Duration;

use super::GenerationId;
use crate::plan::{OnEnd, RestartPlan, SignalProfile};

/// What holds for the app as a whole.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Longest graceful stop.
    pub grace: Duration,
    /// The same after a failure.
    pub fail_grace: Duration,
    /// Not ready, but serving, for this long first.
    pub drain_delay: Duration,
    /// Which table of signals holds.
    pub signals: SignalProfile,
}

/// What holds for one component.
#[derive(Clone, Debug)]
pub struct GenerationPolicy {
    /// Longest time between its notice and its cut-off, within what its wave has; `None` is all of that.
    pub grace: Option<Duration>,
    /// Longest time until it is ready.
    pub start_timeout: Duration,
    /// What its normal end means.
    pub on_exit: OnEnd,
    /// What its failure means.
    pub on_failure: OnEnd,
    /// What the failure of one of its instances means, where it has several and goes on without it.
    pub on_lost: OnEnd,
    /// Its budget, where one of these means a restart.
    pub restart: RestartPlan,
    /// Those it depends on: it starts after they are ready, and stops before them.
    pub after: Vec<GenerationId>,
    /// Whether it has instances of its own that are replaced one by one: a failed one is a `Lost`, and a restart of
    /// it is none of the component.
    pub pooled: bool,
}
