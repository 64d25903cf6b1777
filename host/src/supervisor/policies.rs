//! From a plan and a kind to the policies of the machine.

use std::collections::BTreeMap;

use crate::plan::{AppPlan, ComponentPlan, OnEnd};
use crate::runtime::Loaded;
use crate::teardown::{GenerationId, GenerationPolicy, Policy};

/// Returns the policy of the app.
pub(super) fn policy(app: &AppPlan) -> Policy {
    Policy {
        grace: app.grace,
        fail_grace: app.fail_grace,
        drain_delay: app.drain_delay,
        signals: app.signals,
    }
}

/// Returns the policy of a component; `ids` are the current generations by name. Its kind is known once it is loaded:
/// before that it cannot start.
pub(super) fn generation_policy(
    plan: &ComponentPlan,
    loaded: Option<&Loaded>,
    ids: &BTreeMap<String, GenerationId>,
) -> GenerationPolicy {
    let resolved = loaded.map(|loaded| plan.resolve(&loaded.defaults));
    let on_failure = resolved.map_or(OnEnd::StopApp, |resolved| resolved.on_failure);
    GenerationPolicy {
        grace: plan.grace,
        start_timeout: plan.start_timeout,
        on_exit: plan.on_exit,
        on_failure,
        on_lost: on_failure,
        restart: plan.restart,
        after: plan.after.iter().filter_map(|name| ids.get(name).copied()).collect(),
        pooled: loaded.is_some_and(|loaded| loaded.kind.is_pooled),
    }
}
