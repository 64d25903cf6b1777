//! From a plan to what the machine is told. Decides what holds for a kind where the plan leaves it to that.

use std::collections::BTreeMap;

use crate::plan::{AppPlan, ComponentPlan, OnEnd};
use crate::teardown::{GenerationId, GenerationPolicy, Policy};

/// Returns what holds for the app.
pub fn policy(app: &AppPlan) -> Policy {
    Policy {
        grace: app.grace,
        fail_grace: app.fail_grace,
        drain_delay: app.drain_delay,
        signals: app.signals,
    }
}

/// Returns whether the host listens for a component, and so has instances of it that it replaces by itself. Loading
/// checks that the component is made for it.
pub fn is_pooled(plan: &ComponentPlan) -> bool {
    !plan.http.listen.is_empty()
}

/// Returns what holds for a component; `ids` are the generations that its names mean.
pub fn generation_policy(plan: &ComponentPlan, ids: &BTreeMap<String, GenerationId>) -> GenerationPolicy {
    let pooled = is_pooled(plan);
    let by_kind = if pooled { OnEnd::Restart } else { OnEnd::StopApp };
    let on_failure = plan.on_failure.unwrap_or(by_kind);
    GenerationPolicy {
        grace: plan.grace,
        start_timeout: plan.start_timeout,
        on_exit: plan.on_exit,
        on_failure,
        on_lost: on_failure,
        restart: plan.restart,
        after: plan.after.iter().filter_map(|name| ids.get(name).copied()).collect(),
        pooled,
    }
}
