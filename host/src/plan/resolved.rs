//! Settings of a component whose defaults depend on its kind, once the kind is known. Each kind states its defaults.

use super::{ComponentPlan, HookTiming, OnEnd, ReadyWhen};

/// The settings of a component that its kind has a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// True if its `run`, or its handler, is async. The host cannot enter a sync one while it works: its hook waits for the end,
    /// and it has one request at a time.
    pub is_async: bool,
    /// The time at which its hook is called.
    pub hook: HookTiming,
    /// The meaning of its failure.
    pub on_failure: OnEnd,
    /// Most restarts within the period of its budget; `None` has no limit.
    pub max_restarts: Option<u32>,
    /// The time at which it is ready.
    pub ready: ReadyWhen,
    /// Most instances at a time.
    pub max_instances: usize,
    /// Most requests, or connections, in one instance at a time.
    pub concurrency: usize,
    /// Requests, or connections, after which an instance is replaced; 0 is never.
    pub requests: u64,
}

/// The defaults of a kind: the settings of a component whose plan has none. `hook` and `concurrency` count if it is async.
pub type KindDefaults = Resolved;

impl ComponentPlan {
    /// Returns the settings that hold for a component of a kind with these defaults.
    pub fn resolve(&self, kind: &KindDefaults) -> Resolved {
        let instances = &self.http.instances;
        let (hook, concurrency) = match kind.is_async {
            true => (self.hook.unwrap_or(kind.hook), instances.concurrency.unwrap_or(kind.concurrency)),
            false => (HookTiming::AfterDrain, 1),
        };
        Resolved {
            is_async: kind.is_async,
            hook,
            on_failure: self.on_failure.unwrap_or(kind.on_failure),
            max_restarts: self.restart.max.or(kind.max_restarts),
            ready: self.ready.unwrap_or(kind.ready),
            max_instances: instances.max.unwrap_or(kind.max_instances),
            concurrency,
            requests: instances.requests.unwrap_or(kind.requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: KindDefaults = KindDefaults {
        is_async: true,
        hook: HookTiming::AtStart,
        on_failure: OnEnd::Restart,
        max_restarts: None,
        ready: ReadyWhen::Said,
        max_instances: 7,
        concurrency: 9,
        requests: 5,
    };

    #[test]
    fn the_manifest_comes_before_the_kind() {
        let mut plan = ComponentPlan::default();
        let Resolved { hook, on_failure, ready, max_instances, concurrency, requests, .. } =
            plan.resolve(&KIND);
        assert_eq!((hook, on_failure, ready), (KIND.hook, KIND.on_failure, KIND.ready));
        assert_eq!((max_instances, concurrency, requests), (7, 9, 5));
        assert_eq!(plan.resolve(&KindDefaults { max_restarts: Some(5), ..KIND }).max_restarts, Some(5));
        plan.restart.max = Some(3);
        assert_eq!(plan.resolve(&KIND).max_restarts, Some(3));
        plan.hook = Some(HookTiming::AfterDrain);
        plan.on_failure = Some(OnEnd::Ignore);
        plan.ready = Some(ReadyWhen::Started);
        plan.http.instances.max = Some(1);
        plan.http.instances.concurrency = Some(2);
        plan.http.instances.requests = Some(0);
        let resolved = plan.resolve(&KIND);
        assert_eq!((resolved.hook, resolved.on_failure), (HookTiming::AfterDrain, OnEnd::Ignore));
        assert_eq!((resolved.ready, resolved.max_instances), (ReadyWhen::Started, 1));
        assert_eq!((resolved.concurrency, resolved.requests), (2, 0));
    }

    #[test]
    fn nothing_enters_a_sync_component_while_it_works() {
        let mut plan = ComponentPlan { hook: Some(HookTiming::AtStart), ..ComponentPlan::default() };
        plan.http.instances.concurrency = Some(2);
        let resolved = plan.resolve(&KindDefaults { is_async: false, ..KIND });
        assert_eq!((resolved.hook, resolved.concurrency), (HookTiming::AfterDrain, 1));
    }
}
