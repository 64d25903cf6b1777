//! What a new plan changes in a running app.
//!
//! Invariant: a component's name is its identity, and each of both plans is in exactly one list. Whether a file
//! has other contents is not known here.

use std::collections::BTreeMap;

use super::types::{AccessLogFormat, ComponentPlan, OnEnd, Plan};

/// What differs between two plans; the numbers are places in their components.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Those whose instances can stay, in the old plan and in the new one. What only the supervisor reads of their
    /// plans may have changed.
    pub same: Vec<(usize, usize)>,
    /// Those that need new instances, in the old plan and in the new one.
    pub changed: Vec<(usize, usize)>,
    /// Those that only the new plan has, in it.
    pub added: Vec<usize>,
    /// Those that only the old plan has, in it.
    pub removed: Vec<usize>,
    /// Whether anything is different that holds for the app as a whole.
    pub app: bool,
}

impl Plan {
    /// Returns what `new` changes. The lists are in the order of `new`, `removed` in the one of the old plan.
    #[must_use]
    pub fn diff(&self, new: &Self) -> Diff {
        let mut diff = Diff { app: self.app != new.app, ..Diff::default() };
        let old = self.components.iter().enumerate();
        let mut left: BTreeMap<&str, (usize, &ComponentPlan)> =
            old.map(|(place, component)| (component.name.as_str(), (place, component))).collect();
        for (place, component) in new.components.iter().enumerate() {
            match left.remove(component.name.as_str()) {
                Some((was, old)) if old.runs_like(component) => diff.same.push((was, place)),
                Some((was, _)) => diff.changed.push((was, place)),
                None => diff.added.push(place),
            }
        }
        diff.removed.extend(left.into_values().map(|(place, _)| place));
        diff.removed.sort_unstable();
        diff
    }

    /// Returns why a running app cannot become `new`, where it cannot: what is opened once for the whole process
    /// stays as it is until its end.
    #[must_use]
    pub fn cannot_reload_to(&self, new: &Self) -> Option<String> {
        let (old, new) = (&self.app, &new.app);
        let unset = || "not set".to_owned();
        let admin = |app: &super::AppPlan| app.admin.map_or_else(unset, |address| address.to_string());
        let control =
            |app: &super::AppPlan| app.control.as_ref().map_or_else(unset, |path| path.display().to_string());
        let access_log = |app: &super::AppPlan| app.access_log.word().to_owned();
        let differing = if old.admin != new.admin {
            ("admin", admin(old), admin(new))
        } else if old.control != new.control {
            ("control", control(old), control(new))
        } else if old.access_log != new.access_log {
            ("access-log", access_log(old), access_log(new))
        } else {
            return None;
        };
        let (key, was, is) = differing;
        Some(format!("`{key}` of [app] was {was} and is {is} now: that needs a restart of curfew"))
    }
}

impl AccessLogFormat {
    /// The word that a manifest has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => super::schema::OFF,
            Self::Text => super::schema::TEXT,
            Self::Json => super::schema::JSON,
        }
    }
}

impl ComponentPlan {
    /// Whether instances of this plan can go on under `other`: all that they, or the server in front of them, get
    /// to see is equal. What only the supervisor reads may differ, and holds from then on: `after`, `ready`,
    /// `restart`, `on-exit`, `overlap`; of a component that the host does not listen for also `grace`,
    /// `start-timeout` and `on-failure`.
    ///
    /// `health` is no such key: a service that has never called `alive` would fail as soon as it is asked to.
    #[must_use]
    pub fn runs_like(&self, other: &Self) -> bool {
        // A new key has to be thought about here: it does not compile otherwise.
        let Self {
            name,
            source,
            grace,
            hook,
            on_exit: _,
            on_failure,
            restart: _,
            after: _,
            ready: _,
            health,
            overlap: _,
            start_timeout,
            memory,
            stdin,
            args,
            env,
            dirs,
            network,
            http,
            outbound_http,
            config,
        } = self;
        // A server starts instances by itself, and cuts single ones off.
        let failure = |on_failure: &Option<OnEnd>| on_failure.unwrap_or(OnEnd::Restart);
        let served_alike = || {
            *grace == other.grace
                && *start_timeout == other.start_timeout
                && failure(on_failure) == failure(&other.on_failure)
        };
        (http.listen.is_empty() || served_alike())
            && (name, source, hook, health) == (&other.name, &other.source, &other.hook, &other.health)
            && (memory, stdin, args, env) == (&other.memory, &other.stdin, &other.args, &other.env)
            && (dirs, network, http) == (&other.dirs, &other.network, &other.http)
            && (outbound_http, config) == (&other.outbound_http, &other.config)
    }
}

#[cfg(test)]
mod tests;
